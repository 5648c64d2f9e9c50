/**
 * `tools/setup.mjs` in a small clone of its own. npm is a script here that does what the test tells it to (the real
 * one takes half a minute and is run by `install.test.ts`).
 */
import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { afterwards, temporaryFolder } from './support/homes.ts'
import { eventually, runProgram, within } from './support/processes.ts'

interface Clone {
  readonly root: string
  start(...args: string[]): Running
  readonly npmCalls: () => string[]
}

interface Running {
  readonly child: ChildProcessWithoutNullStreams
  readonly output: { stdout: string; stderr: string }
  readonly ended: Promise<{ code: number | null; stdout: string; stderr: string }>
}

/** What runs before anything is installed. */
const setUpFiles = ['setup.mjs', 'setup-error.mjs', 'setup-lock.mjs', 'parts.mjs', 'trim-modules.mjs']
const shell = '/bin/sh'
/** `npm ci` installs our own Node as the package `node` does, after what the test wants to happen. */
const npmScript = (version: string, ci: string): string => `#!${shell}
if [ "$1" = --version ]; then echo ${version}; exit 0; fi
echo "$1" >> npm-calls
if [ "$1" = ci ]; then ${ci}; mkdir -p node_modules; exit 0; fi
mkdir -p node_modules/node/bin && ln -sf "$MESH_TEST_NODE" node_modules/node/bin/node
`

const makeClone = (t: TestContext, npm?: { version?: string; ci?: string }): Clone => {
  const root = temporaryFolder(t)
  for (const folder of ['shared', 'tools', 'bin']) mkdirSync(join(root, folder))
  for (const file of setUpFiles)
    copyFileSync(fileURLToPath(new URL(`../tools/${file}`, import.meta.url)), join(root, 'tools', file))
  writeFileSync(join(root, 'package-lock.json'), '{}')
  writeFileSync(join(root, 'package.json'), JSON.stringify({ config: { nodeFlags: ['--max-semi-space-size=2'] } }))
  writeFileSync(
    join(root, 'shared', 'script.mjs'),
    'console.log(JSON.stringify({ args: process.argv.slice(2), flags: process.execArgv, node: process.argv0 })); ' +
      'process.exitCode = Number(process.argv[2] ?? 0)',
  )
  if (npm !== undefined)
    writeFileSync(join(root, 'bin', 'npm'), npmScript(npm.version ?? '10.8.2', npm.ci ?? ':'), { mode: 0o755 })
  return {
    root,
    start: (...args) => {
      const child = spawn(process.execPath, [join(root, 'tools', 'setup.mjs'), ...args], {
        cwd: join(root, 'tools'),
        env: { PATH: `${join(root, 'bin')}:/usr/bin:/bin`, MESH_TEST_NODE: process.execPath },
      })
      const output = { stdout: '', stderr: '' }
      child.stdout.setEncoding('utf8').on('data', (part: string) => (output.stdout += part))
      child.stderr.setEncoding('utf8').on('data', (part: string) => (output.stderr += part))
      afterwards(t, () => child.kill('SIGKILL'))
      return {
        child,
        output,
        ended: within(
          20_000,
          'the set-up ends',
          new Promise((resolve) => child.on('close', (code) => resolve({ code, ...output }))),
        ),
      }
    },
    npmCalls: () =>
      existsSync(join(root, 'npm-calls')) ? readFileSync(join(root, 'npm-calls'), 'utf8').trim().split('\n') : [],
  }
}

/** PATH without npm: /usr/bin has one on many machines, so these clones see an empty folder only. */
const withoutNpm = (clone: Clone): Promise<{ code: number | null; stderr: string }> =>
  within(
    20_000,
    'the set-up ends',
    new Promise((resolve) => {
      const child = spawn(process.execPath, [join(clone.root, 'tools', 'setup.mjs'), '--only-install'], {
        env: { PATH: join(clone.root, 'bin') },
      })
      let stderr = ''
      child.stderr.setEncoding('utf8').on('data', (part: string) => (stderr += part))
      child.on('close', (code) => resolve({ code, stderr }))
    }),
  )

describe('set-up', () => {
  it('installs once, runs the script with our own Node, its arguments and its exit code', async (t) => {
    const clone = makeClone(t, {})
    const first = await clone.start('shared/script.mjs', '7', '--json', 'a b').ended
    assert.equal(first.code, 7)
    const seen = JSON.parse(first.stdout) as { args: string[]; flags: string[]; node: string }
    assert.deepEqual(seen.args, ['7', '--json', 'a b'])
    assert.deepEqual(seen.flags, ['--max-semi-space-size=2'])
    assert.equal((await clone.start('--only-install', '--print-flags').ended).stdout, '--max-semi-space-size=2\n')
    assert.equal(seen.node, join(clone.root, 'node_modules', 'node', 'bin', 'node'))
    assert.match(first.stderr, /^installing dependencies .*\n$/)
    const second = await clone.start('shared/script.mjs').ended
    assert.deepEqual([second.code, second.stderr], [0, ''])
    assert.deepEqual(clone.npmCalls(), ['ci', 'rebuild'])
  })

  it('installs again although it runs with the Node that npm ci removes, as npm run starts it', async (t) => {
    const clone = makeClone(t, {})
    await clone.start('--only-install').ended
    writeFileSync(join(clone.root, 'package-lock.json'), '{ }')
    const own = join(clone.root, 'node_modules', 'node', 'bin', 'node')
    rmSync(own)
    copyFileSync(process.execPath, own)
    // an npm of Node's own folder: it removes what it is started with, and the second call would need that
    const cli = join(clone.root, 'bin', 'npm-cli.js')
    writeFileSync(
      cli,
      `if (process.argv[2] === '--version') console.log('10.8.2'); else require('node:fs').rmSync(${JSON.stringify(own)})`,
    )
    const { code, stderr } = await runProgram(own, [join(clone.root, 'tools', 'setup.mjs'), '--only-install'], {
      home: clone.root,
      env: { PATH: `${join(clone.root, 'bin')}:/usr/bin:/bin`, MESH_TEST_NODE: process.execPath, npm_execpath: cli },
    })
    assert.deepEqual([code, stderr], [0, 'installing dependencies (once; about half a minute) ...\n'])
    assert.deepEqual(clone.npmCalls(), ['ci', 'rebuild', 'rebuild'])
  })

  it('installs again when the lock file changed, and when the installation was removed', async (t) => {
    const clone = makeClone(t, {})
    await clone.start('--only-install').ended
    writeFileSync(join(clone.root, 'package-lock.json'), '{ }')
    await clone.start('--only-install').ended
    rmSync(join(clone.root, 'node_modules'), { recursive: true })
    await clone.start('--only-install').ended
    assert.deepEqual(clone.npmCalls(), ['ci', 'rebuild', 'ci', 'rebuild', 'ci', 'rebuild'])
  })

  it('leaves out what is never read, again whenever npm brought it back, and of an installation that was there', async (t) => {
    const binding = 'node_modules/engine/bin'
    const clone = makeClone(t, {
      ci:
        `rm -rf node_modules; mkdir -p ${binding}/${process.platform}/${process.arch} ${binding}/plan9/mips ` +
        `${binding}/sunos; touch ${binding}/${process.platform}/${process.arch}/own.node ` +
        `${binding}/plan9/mips/x.node ${binding}/aix.node ${binding}/index.js ${binding}/index.js.map`,
    })
    const has = (): string[] =>
      ['aix.node', 'index.js', 'index.js.map', join(process.platform, process.arch, 'own.node')].filter((file) =>
        existsSync(join(clone.root, binding, file)),
      )
    const kept = ['index.js', join(process.platform, process.arch, 'own.node')]
    await clone.start('--only-install').ended
    assert.deepEqual(has(), kept)
    writeFileSync(join(clone.root, 'package-lock.json'), '{ }')
    await clone.start('--only-install').ended
    assert.deepEqual([clone.npmCalls().length, has()], [4, kept])
    // one that was made before anything was left out
    rmSync(join(clone.root, 'node_modules', '.mesh-trimmed'))
    for (const file of ['aix.node', 'index.js.map']) writeFileSync(join(clone.root, binding, file), '')
    const { code, stderr } = await clone.start('--only-install').ended
    assert.deepEqual([code, stderr, clone.npmCalls().length, has()], [0, '', 4, kept])
  })

  it('a production installation is not enough for development, but the other way round', async (t) => {
    const clone = makeClone(t, {})
    await clone.start('--only-install', '--production').ended
    await clone.start('--only-install').ended
    assert.equal(clone.npmCalls().length, 4)
    await clone.start('--only-install', '--production').ended
    assert.equal(clone.npmCalls().length, 4)
  })

  it('parts that are wanted alone leave the rest out of the copy and of its lock file, never of a clone', async (t) => {
    const copy = makeClone(t, {})
    const dependencies = { fastify: '1.0.0', libp2p: '1.0.0', node: '1.0.0', 'onnxruntime-node': '1.0.0' }
    const write = (): void => {
      const manifest = { dependencies, devDependencies: { typescript: '1.0.0' }, config: { nodeFlags: [] } }
      writeFileSync(join(copy.root, 'package.json'), JSON.stringify(manifest))
      writeFileSync(join(copy.root, 'package-lock.json'), JSON.stringify({ packages: { '': manifest, x: {} } }))
    }
    const kept = (): unknown[] => {
      const read = (file: string): unknown => JSON.parse(readFileSync(join(copy.root, file), 'utf8')) as unknown
      const { config, ...manifest } = read('package.json') as { config: { only?: string[] }; dependencies: object }
      const { packages } = read('package-lock.json') as { packages: Record<string, { dependencies: object }> }
      return [config.only, Object.keys(manifest.dependencies), Object.keys(packages[''].dependencies), 'x' in packages]
    }
    for (const folder of ['models', 'control-plane', 'relay-server']) mkdirSync(join(copy.root, folder))

    write()
    const wrong = await copy.start('--only-install', '--only', 'agent').ended
    assert.deepEqual([wrong.code, copy.npmCalls()], [3, []])
    assert.match(
      wrong.stderr,
      /^error: --only wants relay, control-plane or both with a comma, got "agent"\nhint: leave/,
    )
    mkdirSync(join(copy.root, 'test'))
    const clone = await copy.start('--only-install', '--only', 'relay').ended
    assert.deepEqual([clone.code, clone.stderr.split('\n')[0]], [3, 'error: a clone keeps all of its parts'])
    const all = ['fastify', 'libp2p', 'node', 'onnxruntime-node']
    assert.deepEqual(kept(), [undefined, all, all, true])
    rmSync(join(copy.root, 'test'), { recursive: true })

    assert.equal((await copy.start('--only-install', '--only', 'relay').ended).code, 0)
    assert.deepEqual(kept(), [['relay'], ['libp2p', 'node'], ['libp2p', 'node'], true])
    const left = ['models', 'control-plane', 'relay-server'].filter((folder) => existsSync(join(copy.root, folder)))
    assert.deepEqual(left, ['relay-server'])
    // it is as installed as any other
    assert.deepEqual((await copy.start('--only-install', '--production').ended).stderr, '')
    assert.deepEqual(copy.npmCalls(), ['ci', 'rebuild'])
    const more = await copy.start('--only-install', '--only', 'relay,control-plane').ended
    assert.match(more.stderr, /^error: .* has relay alone\nhint: install Mesh again, from where it came\n$/)
  })

  it('two at once install once: the second waits', async (t) => {
    const clone = makeClone(t, { ci: 'while [ ! -e go ]; do sleep 0.05; done' })
    const first = clone.start('--only-install')
    await eventually(10_000, 'the first installs', () => (clone.npmCalls().length > 0 ? true : undefined))
    const second = clone.start('--only-install')
    await eventually(10_000, 'the second waits', () =>
      second.output.stderr.includes('waiting for another set-up') ? true : undefined,
    )
    writeFileSync(join(clone.root, 'go'), '')
    assert.deepEqual([(await first.ended).code, (await second.ended).code], [0, 0])
    assert.deepEqual(clone.npmCalls(), ['ci', 'rebuild'])
  })

  it('the lock of a process that died is taken over', async (t) => {
    const clone = makeClone(t, {})
    const dead = spawn(process.execPath, ['--version'])
    await new Promise((resolve) => dead.on('close', resolve))
    mkdirSync(join(clone.root, '.cache'))
    writeFileSync(join(clone.root, '.cache', 'setup.lock'), String(dead.pid))
    assert.equal((await clone.start('--only-install').ended).code, 0)
    assert.ok(!existsSync(join(clone.root, '.cache', 'setup.lock')))
  })

  it('a failed installation shows what npm said, then two lines, and the next run tries again', async (t) => {
    const clone = makeClone(t, { ci: 'if [ ! -e ok ]; then echo "npm error code ENOTFOUND" >&2; exit 1; fi' })
    const { code, stderr } = await clone.start('--only-install').ended
    assert.equal(code, 3)
    assert.match(
      stderr,
      /npm error code ENOTFOUND\nerror: the npm registry cannot be reached[^\n]*\nhint: connect to the network[^\n]*\n$/,
    )
    writeFileSync(join(clone.root, 'ok'), '')
    assert.equal((await clone.start('--only-install').ended).code, 0)
  })

  it('an installation that is interrupted does not count', async (t) => {
    const clone = makeClone(t, { ci: 'while [ ! -e go ]; do sleep 0.05; done' })
    const running = clone.start('--only-install')
    await eventually(10_000, 'it installs', () => (clone.npmCalls().length > 0 ? true : undefined))
    running.child.kill('SIGTERM')
    const { code, stderr } = await running.ended
    assert.equal(code, 3)
    assert.match(stderr, /error: the installation was interrupted \(SIGTERM\)\nhint: run the command again\n$/)
    writeFileSync(join(clone.root, 'go'), '')
    await clone.start('--only-install').ended
    assert.deepEqual(clone.npmCalls(), ['ci', 'ci', 'rebuild'])
  })

  it('npm that is missing or too old is named with what to do', async (t) => {
    const missing = await withoutNpm(makeClone(t))
    assert.deepEqual(
      [missing.code, missing.stderr.split('\n')[0]],
      [3, 'error: npm is not there, and the dependencies are not installed'],
    )
    assert.match(missing.stderr, /\nhint: install Node\.js with npm/)
    const old = await makeClone(t, { version: '6.14.18' }).start('--only-install').ended
    assert.deepEqual([old.code, old.stderr.split('\n')[0]], [3, 'error: npm 6.14.18 is too old for the lock file'])
  })

  it('signals reach the script, and its own end is the end', async (t) => {
    const clone = makeClone(t, {})
    writeFileSync(
      join(clone.root, 'shared', 'script.mjs'),
      'process.on("SIGTERM", () => { clearInterval(timer); process.exitCode = 9 }); const timer = setInterval(() ' +
        '=> {}, 1000); console.log("ready")',
    )
    const running = clone.start('shared/script.mjs')
    await eventually(10_000, 'the script runs', () => (running.output.stdout.includes('ready') ? true : undefined))
    running.child.kill('SIGTERM')
    assert.equal((await running.ended).code, 9)
  })

  it('it runs on the oldest Node that is promised: no syntax or import newer than Node 18', () => {
    const text = setUpFiles
      .map((file) => readFileSync(fileURLToPath(new URL(`../tools/${file}`, import.meta.url)), 'utf8'))
      .join('\n')
    for (const newer of [
      'import.meta.dirname',
      'import.meta.filename',
      'Promise.withResolvers',
      '.toSorted(',
      '.findLast(',
      '.toReversed(',
      'with { type:',
    ])
      assert.ok(!text.includes(newer), newer)
    for (const [, from] of text.matchAll(/from '([^']+)'/g))
      assert.ok(from.startsWith('node:') || setUpFiles.includes(from.replace('./', '')), from)
  })
})
