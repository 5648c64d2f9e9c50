/** The lint rules that keep the architecture, each shown to fire: a small tree of violations, linted with our config. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { owners, rooms } from '../oxlint.config.ts'
import manifest from '../package.json' with { type: 'json' }
import { temporaryFolder } from './support/homes.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

interface Report {
  readonly diagnostics: readonly { readonly code: string; readonly filename: string }[]
}

const imports = (from: string): string => `import { a } from '${from}'\nexport const b = a\n`
const lines = (count: number, line: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => line(index)).join('\n')

/** File -> content, and the rule that must fire for it; `undefined`: none. */
const cases: readonly (readonly [file: string, content: string, rule: string | undefined])[] = [
  // no sibling imports
  ['agent/cli/a.ts', imports('../../control-plane/app.ts'), 'no-restricted-imports'],
  ['agent/b.ts', imports('../relay-server/relay.ts'), 'no-restricted-imports'],
  ['control-plane/c.ts', imports('../agent/main.ts'), 'no-restricted-imports'],
  ['control-plane/routes/d.ts', imports('../../relay-server/relay.ts'), 'no-restricted-imports'],
  ['relay-server/e.ts', imports('../control-plane/app.ts'), 'no-restricted-imports'],
  ['shared/f.ts', imports('../agent/main.ts'), 'no-restricted-imports'],
  ['shared/wire/g.ts', imports('../../control-plane/app.ts'), 'no-restricted-imports'],
  ['agent/h.ts', imports('../shared/errors.ts'), undefined],
  // one owner per library
  ['agent/engine/i.ts', imports('onnxruntime-node'), 'no-restricted-imports'],
  ['agent/engine/onnx/j.ts', imports('onnxruntime-node'), undefined],
  ['agent/daemon/k.ts', imports('libp2p'), 'no-restricted-imports'],
  ['agent/daemon/l.ts', imports('@libp2p/crypto/keys'), 'no-restricted-imports'],
  ['agent/network/m.ts', imports('@libp2p/crypto/keys'), undefined],
  ['relay-server/n.ts', imports('@libp2p/tcp'), 'no-restricted-imports'],
  ['relay-server/relay-node.ts', imports('@libp2p/tcp'), undefined],
  ['control-plane/routes/o.ts', imports('better-sqlite3'), 'no-restricted-imports'],
  ['control-plane/domain/p.ts', imports('drizzle-orm/sqlite-core'), 'no-restricted-imports'],
  ['control-plane/store/q.ts', imports('drizzle-orm/sqlite-core'), undefined],
  ['control-plane/store/r.ts', imports('fastify'), 'no-restricted-imports'],
  ['control-plane/routes/s.ts', imports('@fastify/websocket'), 'no-restricted-imports'],
  ['control-plane/routes/s2.ts', imports('fastify'), undefined],
  ['shared/identity/t.ts', imports('cbor-x'), 'no-restricted-imports'],
  ['shared/wire/u.ts', imports('cbor-x'), 'no-restricted-imports'],
  ['shared/wire/envelope.ts', imports('cbor-x'), undefined],
  ['agent/network/u2.ts', imports('cbor-x/decode'), 'no-restricted-imports'],
  ['shared/v.ts', imports('@noble/hashes/sha2.js'), 'no-restricted-imports'],
  ['shared/identity/w.ts', imports('@noble/hashes/sha2.js'), undefined],
  // arrows inside the agent and the control plane
  ['agent/engine/aa.ts', imports('../network/node.ts'), 'no-restricted-imports'],
  ['agent/engine/ab.ts', "export const b = () => import('../network/node.ts')\n", 'no-restricted-imports'],
  ['agent/engine/ac.ts', "export { a } from '../daemon/daemon.ts'\n", 'no-restricted-imports'],
  ['agent/engine/onnx/ad.ts', imports('../../generation/leader.ts'), 'no-restricted-imports'],
  ['agent/engine/ae.ts', imports('../cli/run.ts'), 'no-restricted-imports'],
  ['agent/cli/ap1.ts', imports('../network/node.ts'), 'no-restricted-imports'],
  ['agent/engine/ap2.ts', imports('../network/node.ts'), 'no-restricted-imports'],
  ['agent/collective/ap3.ts', imports('../channel/sockets/tls-sockets.ts'), 'no-restricted-imports'],
  ['agent/collective/ap4.ts', imports('../device/device.ts'), 'no-restricted-imports'],
  ['agent/device/ap5.ts', imports('../collective/channel.ts'), 'no-restricted-imports'],
  ['agent/model/ap6.ts', imports('../engine/engine.ts'), 'no-restricted-imports'],
  ['agent/network/ap7.ts', imports('koffi'), 'no-restricted-imports'],
  ['agent/engine/ggml/ap8.ts', imports('koffi'), undefined],
  ['agent/engine/ap9.ts', imports('./test/reference-model.ts'), 'no-restricted-imports'],
  ['agent/engine/ap9.test.ts', imports('./test/reference-model.ts'), undefined],
  ['agent/engine/ap10.test.ts', imports('../../control-plane/app.ts'), 'no-restricted-imports'],
  ['control-plane/domain/ap11.ts', imports('../service/rings.ts'), 'no-restricted-imports'],
  ['control-plane/store/ap12.ts', imports('../service/rings.ts'), 'no-restricted-imports'],
  ['control-plane/service/ap13.ts', imports('../routes/access.ts'), 'no-restricted-imports'],
  ['agent/network/af.ts', "import type { a } from '../engine/engine.ts'\nexport type b = a\n", 'no-restricted-imports'],
  ['agent/collective/ag.ts', imports('../network/node.ts'), 'no-restricted-imports'],
  ['agent/daemon/ah.ts', imports('../cli/run.ts'), 'no-restricted-imports'],
  ['agent/channel/sockets/al.ts', imports('../../network/node.ts'), 'no-restricted-imports'],
  ['agent/channel/sockets/am.ts', imports('../inbox.ts'), undefined],
  ['agent/rank/an.ts', imports('../daemon/daemon.ts'), 'no-restricted-imports'],
  ['agent/rank/ao.ts', imports('../network/ring-channel.ts'), undefined],
  ['agent/engine/ap.ts', imports('../rank/open-links.ts'), 'no-restricted-imports'],
  ['agent/daemon/ai.ts', imports('../network/node.ts'), undefined],
  ['control-plane/domain/aj.ts', imports('../store/database.ts'), 'no-restricted-imports'],
  ['control-plane/store/ak.ts', imports('../routes/jobs.ts'), 'no-restricted-imports'],
  // one reader of the environment, one place to exit
  ['agent/cli/ba.ts', 'export const b = process.env.X\n', 'no-process-env'],
  ['shared/options.ts', 'export const b = process.env.X\n', undefined],
  ['agent/cli/bb.ts', 'process.exit(1)\n', 'no-restricted-properties'],
  ['agent/main.ts', 'process.exit(1)\n', undefined],
  // streams of strangers are for the gate alone
  [
    'agent/network/bc.ts',
    'export const b = (node) => node.libp2p.handle("/x", () => {})\n',
    'no-restricted-properties',
  ],
  ['agent/daemon/bd.ts', 'export const b = ({ handle }) => handle\n', 'no-restricted-properties'],
  ['agent/cli/bd.ts', 'export const b = ({ handle }) => handle\n', undefined],
  [
    'agent/network/be.ts',
    'export const b = (node) => {\n  const { handle } = node\n  return handle\n}\n',
    'no-restricted-properties',
  ],
  ['agent/network/gate-exchange.ts', 'export const b = (node) => node.libp2p.handle("/x", () => {})\n', undefined],
  ['agent/network/bf.test.ts', 'export const b = (node) => node.libp2p.handle("/x", () => {})\n', undefined],
  // sizes and types
  ['agent/ca.ts', lines(401, (index) => `export const a${index} = 1`), 'max-lines'],
  ['agent/cb.test.ts', lines(599, (index) => `export const a${index} = 1`), undefined],
  ['agent/cc.test.ts', lines(601, (index) => `export const a${index} = 1`), 'max-lines'],
  [
    'agent/cd.ts',
    `export const f = () => {\n${lines(61, (index) => `console.log(${index})`)}\n}\n`,
    'max-lines-per-function',
  ],
  [
    'agent/ce.ts',
    'export const f = (a: number, b: number, c: number, d: number, e: number) => a + b + c + d + e\n',
    'max-params',
  ],
  ['agent/cf.ts', 'export const f = (a: any) => a\n', 'no-explicit-any'],
  ['agent/cg.ts', "import { h } from './ch.ts'\nexport const g = () => h\n", 'no-cycle'],
  ['agent/ch.ts', "import { g } from './cg.ts'\nexport const h = () => g\n", 'no-cycle'],
  ['agent/ci.ts', "import type { J } from './cj.ts'\nexport interface I { j: J }\n", 'no-cycle'],
  ['agent/cj.ts', "import type { I } from './ci.ts'\nexport interface J { i: I }\n", 'no-cycle'],
]

const partOf = (room: string): string => room.split('/')[0]

/** One import from each room into each other one of its part. */
const pairs = Object.keys(rooms).flatMap((from) =>
  Object.keys(rooms)
    .filter((to) => to !== from && partOf(to) === partOf(from) && to.includes('/'))
    .map((to) => {
      const name = to.split('/').at(-1)!
      const file = `${from}/from-${name}.ts`
      const rule = rooms[from].includes(to) ? undefined : 'no-restricted-imports'
      return [file, imports(`../${name}/a.ts`), rule] as const
    }),
)

/** Packages whose files are opened by path, never imported. */
const boughtForTheirFiles = ['@node-llama-cpp/linux-x64']

/** What any file may use. */
const forAll = ['node', 'typebox']

describe('lint rules', () => {
  it('every violation of the architecture is an error, and what is allowed is not', (t) => {
    const tree = temporaryFolder(t)
    copyFileSync(join(root, 'oxlint.config.ts'), join(tree, 'oxlint.config.ts'))
    symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'), 'junction')
    for (const [file, content] of [...cases, ...pairs]) {
      mkdirSync(dirname(join(tree, file)), { recursive: true })
      writeFileSync(join(tree, file), content)
    }
    const { stdout, status } = spawnSync(
      process.execPath,
      [join(root, 'node_modules/oxlint/bin/oxlint'), '--format=json'],
      { cwd: tree, encoding: 'utf8' },
    )
    const { diagnostics } = JSON.parse(stdout) as Report
    assert.equal(status, 1)
    const rulesOf = (file: string): string[] =>
      diagnostics
        .filter(({ filename }) => filename.endsWith(file))
        .map(({ code }) => code.replace(/^.*\((.*)\)$/, '$1'))
    for (const [file, , rule] of [...cases, ...pairs])
      assert.deepEqual([...new Set(rulesOf(file))], rule === undefined ? [] : [rule], file)
  })

  it('rooms form no circle: each is used only by rooms further out', () => {
    const from = (room: string, path: readonly string[] = []): string[] => {
      if (path.includes(room)) return [[...path, room].join(' -> ')]
      return rooms[room].flatMap((next) => from(next, [...path, room]))
    }
    assert.deepEqual(
      Object.keys(rooms).flatMap((room) => from(room)),
      [],
    )
  })

  it('every library that is installed has an owner, or is for all by name', () => {
    const installed = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.optionalDependencies)]
    const known = new Set([...Object.keys(owners), ...forAll, ...boughtForTheirFiles])
    assert.deepEqual(
      installed.filter((library) => !known.has(library)),
      [],
    )
  })
})
