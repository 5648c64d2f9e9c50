/** The npm package for real: packed from a copy of the tree, installed by an ordinary user, and a model run with it. */
import assert from 'node:assert/strict'
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { basename, delimiter, dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { pathFromEnvironment } from '../shared/options.ts'
import { version } from '../shared/version.ts'
import { temporaryFolder } from './support/homes.ts'
import { runProgram, type RunResult } from './support/processes.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const nobody = 65_534
const asNobody = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups']

/** What an npm that runs us tells its scripts is left out: a user's shell does not have it. */
const withoutOuterNpm = 'unset $(env | sed -n "s/^\\(npm_[a-z_]*\\)=.*/\\1/p" | grep -v registry); exec "$@"'
const outside = pathFromEnvironment()
  .split(delimiter)
  .filter((folder) => !folder.includes('node_modules'))

interface Machine {
  readonly home: string
  /** The machine's Node; npm is that of the system. */
  readonly path: string
}

/** As an ordinary user, also where the tests run as root. */
const asUser = ({ home, path }: Machine, ...command: string[]): Promise<RunResult> => {
  const through = process.getuid?.() === 0 ? asNobody : []
  const words = [...through, '/bin/sh', '-c', withoutOuterNpm, 'sh', ...command]
  const env = { PATH: path, HOME: home, TMPDIR: home, NODE_COMPILE_CACHE: undefined, MESHNET_HOME: undefined }
  return runProgram(words[0], words.slice(1), { home, env, timeoutMs: 280_000 })
}

/** The files of a clone, without what npm and we made in it; its dependencies by a link. */
const copyTree = (to: string): void => {
  const isOurs = (path: string): boolean => !['node_modules', '.git', '.cache', 'dist'].includes(basename(path))
  for (const entry of readdirSync(root)) {
    if (isOurs(entry)) cpSync(join(root, entry), join(to, entry), { recursive: true, filter: isOurs })
  }
  symlinkSync(join(root, 'node_modules'), join(to, 'node_modules'))
}

describe('the npm package', () => {
  it('is packed from a clone, installs into an empty prefix, and runs a model', { timeout: 540_000 }, async (t) => {
    const folder = temporaryFolder(t)
    const [tree, home] = ['tree', 'home'].map((name) => join(folder, name))
    const prefix = join(home, 'prefix')
    for (const each of [tree, home, prefix]) mkdirSync(each)
    chmodSync(folder, 0o755)
    if (process.getuid?.() === 0) for (const each of [home, prefix]) chownSync(each, nobody, nobody)

    copyTree(tree)
    const before = readFileSync(join(tree, 'package.json'), 'utf8')
    const packed = await runProgram('/bin/sh', ['-c', `cd "$1" && npm pack --json`, 'sh', tree], {
      home: folder,
      timeoutMs: 120_000,
    })
    assert.equal(packed.code, 0, packed.stderr)
    assert.equal(readFileSync(join(tree, 'package.json'), 'utf8'), before, 'package.json is as it was')
    const file = join(tree, `meshnet-${version}.tgz`)
    const [{ files }] = JSON.parse(packed.stdout) as [{ readonly files: readonly { readonly path: string }[] }]
    const strange = files
      .map(({ path }) => path)
      .filter((path) => /\.ts$|(?:^|\/)(?:test|node_modules|\.cache)\//.test(path))
    assert.deepEqual(strange, [], 'no sources, tests or caches')

    const machine = { home, path: [join(root, 'node_modules', 'node', 'bin'), ...outside].join(delimiter) }
    const installed = await asUser(machine, 'npm', 'install', '--global', '--prefix', prefix, file)
    assert.equal(installed.code, 0, installed.stderr)
    const mesh = join(prefix, 'bin', 'mesh')
    assert.deepEqual(await asUser(machine, mesh, '--version'), { code: 0, stdout: `${version}\n`, stderr: '' })
    const demo = await asUser(machine, mesh, 'demo', '--max-tokens', '4', '--json')
    assert.equal(demo.code, 0, demo.stderr)
    assert.equal((JSON.parse(demo.stdout) as { workers: number }).workers, 2)
    assert.deepEqual((await asUser(machine, mesh, 'pool-lst')).code, 2)

    const removed = await asUser(machine, 'npm', 'uninstall', '--global', '--prefix', prefix, 'meshnet')
    assert.equal(removed.code, 0, removed.stderr)
    assert.ok(!existsSync(mesh) && readdirSync(join(prefix, 'lib', 'node_modules')).length === 0, 'nothing is left')
  })
})
