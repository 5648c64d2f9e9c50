/** `install.sh` for real: it installs all dependencies, so there is one test of the whole life and quick ones of refusals. */
import assert from 'node:assert/strict'
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
import { delimiter, join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { nodeFlags } from '../shared/node-flags.ts'
import { pathFromEnvironment } from '../shared/options.ts'
import { version } from '../shared/version.ts'
import { temporaryFolder } from './support/homes.ts'
import { runProgram, type RunResult } from './support/processes.ts'

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

describe('install.sh', () => {
  it(
    'installs, works from anywhere and through links, repairs itself when run again, and uninstalls without a trace',
    { timeout: 540_000 },
    async (t) => {
      const root = temporaryFolder(t)
      const prefix = join(root, "it's a place")
      const first = await install(root, '--prefix', prefix)
      assert.equal(first.code, 0, first.stderr)
      assert.match(first.stdout, /^installed .*\/bin\/mesh \(Mesh /)
      assert.match(first.stdout, /add it to your PATH/)

      const command = join(prefix, 'bin', 'mesh')
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
      const installed = readdirSync(join(prefix, 'lib', 'meshnet'), { recursive: true, encoding: 'utf8' }).filter(
        (file) => !file.startsWith('node_modules'),
      )
      assert.deepEqual(
        installed.filter((file) => file.endsWith('.test.ts') || file.startsWith('.git')),
        [],
      )
      assert.ok(
        !existsSync(join(prefix, 'lib', 'meshnet', 'node_modules', 'typescript')),
        'development dependencies are not installed',
      )

      // an upgrade that was cut off between its two renames, and one that was cut off while it installed
      renameSync(join(prefix, 'lib', 'meshnet'), join(prefix, 'lib', '.meshnet-old.999999'))
      mkdirSync(join(prefix, 'lib', '.meshnet-stage.999999'))
      const broken = await runProgram(command, ['--version'], { home: root })
      assert.deepEqual([broken.code, broken.stderr.split('\n')[1]], [3, 'hint: run install.sh again'])
      const second = await install(root, '--prefix', prefix)
      assert.equal(second.code, 0, second.stderr)
      assert.deepEqual(readdirSync(join(prefix, 'lib')), ['meshnet'])
      assert.equal((await runProgram(command, ['--version'], { home: root })).stdout, `${version}\n`)

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
