/**
 * `install.sh` for real: it installs dependencies, so there is one test of the whole life, which begins with each part
 * alone and goes on to all of Mesh, and quick ones of refusals.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { createInterface } from 'node:readline/promises'
import { delimiter, join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { routes } from '../shared/api/routes.ts'
import { nodeFlags } from '../shared/node-flags.ts'
import { environmentFor, pathFromEnvironment } from '../shared/options.ts'
import { version } from '../shared/version.ts'
import { librariesOf, type PartName } from '../tools/parts.mjs'
import { afterwards, temporaryFolder } from './support/homes.ts'
import { runProgram, type RunResult, within } from './support/processes.ts'

const script = fileURLToPath(new URL('../install.sh', import.meta.url))
/** The machine's own Node and npm, which may be old: what npm puts in front for its scripts is left out. */
const systemPath = pathFromEnvironment()
  .split(delimiter)
  .filter((folder) => !folder.includes('node_modules'))
  .join(delimiter)

/** As somebody whose files are closed to others by default. */
const install = (home: string, ...args: string[]): Promise<RunResult> =>
  runProgram('/bin/sh', ['-c', 'umask 077; exec /bin/sh "$@"', 'sh', script, ...args], {
    home,
    env: { PATH: systemPath, HOME: home },
    timeoutMs: 280_000,
  })

/** Files and folders that not everybody can read. */
const closedIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (file) => (lstatSync(join(folder, file)).mode & 0o004) === 0,
  )

/** Names of systems in the paths of the binaries that were installed. */
const systemsOf = (folder: string): string[] => {
  const binaries = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.(?:node|so|dll|dylib)[\d.]*$/.test(file),
  )
  const names = binaries.flatMap((file) =>
    [...file.matchAll(/(?<![a-z])(?:darwin|win32|linux|arm64|x64)(?![a-z0-9])/g)].map(([name]) => name),
  )
  return [...new Set(names)].toSorted()
}

/** Bytes of an installation without Node itself, as `du` counts them. */
const bytesWithoutNode = async (folder: string): Promise<number> => {
  const { stdout } = await runProgram('du', ['-sk', '--exclude=node_modules/node', folder], { home: folder })
  return Number(stdout.split('\t')[0]) * 1024
}

interface Installed {
  readonly root: string
  readonly prefix: string
  readonly command: string
}

/** Starts a service of the installation, waits until it is ready and `use` has used it, and ends it. */
const tryService = async (
  t: TestContext,
  { root, command }: Installed,
  name: PartName,
  use: (ready: Record<string, unknown>) => Promise<void>,
): Promise<void> => {
  const args = [name, '--host', '127.0.0.1', '--port', '0', '--json']
  const env = { ...environmentFor(join(root, 'home')), PATH: systemPath }
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  afterwards(t, () => child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  const [line] = (await within(60_000, `${name} is ready`, once(createInterface(child.stdout), 'line'))) as [string]
  await use(JSON.parse(line) as Record<string, unknown>)
  child.kill('SIGTERM')
  assert.deepEqual(await within(20_000, `${name} ends`, ended), [0, null])
}

/** A part alone: small, without what computes, and whole. */
const tryPart = async (
  t: TestContext,
  installed: Installed,
  part: PartName,
  use: (ready: Record<string, unknown>) => Promise<void>,
): Promise<void> => {
  const { root, prefix, command } = installed
  const { code, stdout, stderr } = await install(root, '--prefix', prefix, '--only', part)
  assert.equal(code, 0, stderr)
  assert.match(stdout, new RegExp(`^installed .* \\(Mesh .*, ${part} alone\\)\\n[^]*try: mesh ${part}\\n$`))
  const place = join(prefix, 'lib', 'meshnet')
  t.diagnostic(`${part} alone: ${Math.round((await bytesWithoutNode(place)) / 1e6)} MB without Node`)
  assert.ok((await bytesWithoutNode(place)) < 60e6)
  const isThere = (library: string): boolean => existsSync(join(place, 'node_modules', library))
  assert.deepEqual(librariesOf([part]).filter(isThere), librariesOf([part]))
  const computing = ['onnxruntime-node', '@node-llama-cpp', 'koffi', '@huggingface', '../models', '../bench']
  assert.deepEqual(computing.filter(isThere), [])
  await tryService(t, installed, part, use)

  const run = (...args: string[]): Promise<RunResult> =>
    runProgram(command, args, { home: join(root, 'home'), env: { PATH: systemPath } })
  for (const args of [['--help'], ['init', '--network-id', 'n', '--name', 'host', '--yes'], ['pool-list']])
    assert.equal((await run(...args)).code, 0, args[0])
  const other = part === 'relay' ? 'control-plane' : 'relay'
  for (const [name, ...args] of [['start'], ['demo'], ['join', 'x'], [other]]) {
    const refused = await run(name, ...args)
    assert.equal(refused.code, 3)
    assert.match(refused.stderr, new RegExp(`^error: mesh ${name} needs .*, and this machine has the ${part} of Mesh`))
    const parts = name === other ? ` --only ${part},${other}` : ''
    assert.ok(
      refused.stderr.endsWith(`\nhint: ./install.sh${parts}, where Mesh was installed from, adds what is missing\n`),
    )
  }
}

describe('install.sh', () => {
  it(
    'installs a part or all, works from anywhere and through links, repairs itself when run again, and uninstalls without a trace',
    { timeout: 900_000 },
    async (t) => {
      const root = temporaryFolder(t)
      const prefix = join(root, "it's a place")
      const installed = { root, prefix, command: join(prefix, 'bin', 'mesh') }
      await tryPart(t, installed, 'relay', async ({ addresses }) => {
        const [, port] = /\/tcp\/(\d+)\//.exec(String(addresses)) ?? []
        const socket = connect(Number(port), '127.0.0.1')
        await within(10_000, 'the relay accepts a connection', once(socket, 'connect'))
        socket.destroy()
      })
      // an upgrade that was cut off between its two renames, and one that was cut off while it installed
      renameSync(join(prefix, 'lib', 'meshnet'), join(prefix, 'lib', '.meshnet-old.999999'))
      mkdirSync(join(prefix, 'lib', '.meshnet-stage.999999'))
      const broken = await runProgram(installed.command, ['--version'], { home: root })
      assert.deepEqual([broken.code, broken.stderr.split('\n')[1]], [3, 'hint: run install.sh again'])
      await tryPart(t, installed, 'control-plane', async ({ url, control_plane_key: key }) => {
        const answer = await fetch(`${String(url)}${routes.controlPlane.path}`)
        assert.equal(((await answer.json()) as { controlPlaneKey: string }).controlPlaneKey, key)
      })
      assert.deepEqual(readdirSync(join(prefix, 'lib')), ['meshnet'])
      const first = await install(root, '--prefix', prefix)
      assert.equal(first.code, 0, first.stderr)
      assert.match(first.stdout, /^installed .*\/bin\/mesh \(Mesh /)
      assert.match(first.stdout, /add it to your PATH/)

      const { command } = installed
      symlinkSync(command, join(root, 'link'))
      for (const file of [command, join(root, 'link')])
        assert.deepEqual(await runProgram(file, ['--version'], { home: root, env: { PATH: systemPath } }), {
          code: 0,
          stdout: `${version}\n`,
          stderr: '',
        })
      assert.ok(readFileSync(command, 'utf8').includes(`flags='${nodeFlags.join(' ')}'`))
      assert.deepEqual(closedIn(prefix), [])
      // what is left out is not missed, by either backend
      const modules = join(prefix, 'lib', 'meshnet', 'node_modules')
      assert.deepEqual(systemsOf(modules), [process.platform, process.arch].toSorted())
      assert.deepEqual(
        readdirSync(modules, { recursive: true, encoding: 'utf8' }).filter((file) => /\.(?:map|h|[cm]?ts)$/.test(file)),
        [],
      )
      for (const backend of ['auto', 'onnx']) {
        const demo = await runProgram(command, ['demo', '--workers', '1', '--max-tokens', '2', '--json'], {
          home: root,
          env: { PATH: systemPath, TMPDIR: root, MESHNET_BACKEND: backend },
          timeoutMs: 120_000,
        })
        assert.equal(demo.code, 0, demo.stderr)
      }
      const usage = await runProgram(command, ['pool-lst'], { home: root, env: { PATH: '/usr/bin:/bin' } })
      assert.equal(usage.code, 2)
      const files = readdirSync(join(prefix, 'lib', 'meshnet'), { recursive: true, encoding: 'utf8' }).filter(
        (file) => !file.startsWith('node_modules'),
      )
      assert.deepEqual(
        files.filter((file) => file.endsWith('.test.ts') || file.startsWith('.git')),
        [],
      )
      assert.ok(
        !existsSync(join(prefix, 'lib', 'meshnet', 'node_modules', 'typescript')),
        'development dependencies are not installed',
      )

      const removed = await install(root, '--prefix', prefix, '--uninstall')
      assert.equal(removed.code, 0, removed.stderr)
      assert.match(removed.stdout, /kept: ~\/\.meshnet/)
      assert.ok(!existsSync(prefix), 'folders that the installation made are gone as well')
      assert.match((await install(root, '--prefix', prefix, '--uninstall')).stdout, /nothing is installed/)
    },
  )

  it('what is not ours is neither replaced nor removed', async (t) => {
    const root = temporaryFolder(t)
    mkdirSync(join(root, 'bin'))
    writeFileSync(join(root, 'bin', 'mesh'), '#!/bin/sh\necho other\n')
    for (const args of [[], ['--uninstall']]) {
      const { code, stderr } = await install(root, '--prefix', root, ...args)
      assert.equal(code, 3)
      assert.match(stderr, /^error: .*\/bin\/mesh exists and was not written by this script\nhint: .*--prefix.*\n$/)
    }
    assert.match(readFileSync(join(root, 'bin', 'mesh'), 'utf8'), /echo other/)
    assert.deepEqual(readdirSync(root), ['bin'])
  })

  it('a wrong option, a place that cannot be written and a missing npm are two lines each', async (t) => {
    const root = temporaryFolder(t)
    writeFileSync(join(root, 'file'), '')
    for (const args of [['--only'], ['--only', 'agent'], ['--only=relay,relay']]) {
      const { code, stderr } = await install(root, ...args, '--prefix', root)
      assert.deepEqual([code, stderr.split('\n')[1]], [2, 'hint: ./install.sh --help'])
    }
    const wrong = await install(root, '--pre', root)
    assert.deepEqual([wrong.code, wrong.stderr], [2, 'error: unknown option --pre\nhint: ./install.sh --help\n'])
    const blocked = await install(root, '--prefix', join(root, 'file', 'inside'))
    assert.equal(blocked.code, 3)
    assert.match(blocked.stderr, /^error: cannot make .*\nhint: .*--prefix DIR\n$/)
    mkdirSync(join(root, 'tools'))
    for (const tool of ['dirname', 'sed', 'grep', 'cat']) symlinkSync(`/usr/bin/${tool}`, join(root, 'tools', tool))
    const bare = await runProgram('/bin/sh', [script, '--prefix', root], {
      home: root,
      env: { PATH: join(root, 'tools') },
    })
    assert.equal(bare.code, 3)
    assert.match(bare.stderr, /^error: node is not there\nhint: install Node\.js/)
    assert.match((await install(root, '--help')).stdout, /--uninstall/)
  })
})
