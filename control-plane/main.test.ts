/** The control plane as its own process: what it prints, how it ends. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { loadControlPlaneKey } from '../shared/identity/control-plane-key.ts'
import { environmentFor } from '../shared/options.ts'
import { createSmallDisk, smallDiskImpossible } from '../test/support/small-disk.ts'
import { createPool, eventually, FakeAgent } from './test/plane.ts'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))

const folderOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-control-plane-'))
  t.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  return folder
}

interface Process {
  /** Address of the ready line. @throws Error when it ends before */
  readonly url: Promise<string>
  readonly pid: number | undefined
  readonly ended: Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>
  signal(name: NodeJS.Signals): void
}

const start = (t: TestContext, home: string, ...args: string[]): Process => startWith(t, home, 'pipe', args)

/** @param log what its stderr is: a pipe that is read here, or an open file */
const startWith = (t: TestContext, home: string, log: 'pipe' | number, args: readonly string[]): Process => {
  const child = spawn(process.execPath, [main, '--json', ...args], {
    stdio: ['ignore', 'pipe', log],
    env: environmentFor(home),
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), 200_000) // a busy machine takes long to start nine of them
  t.after(() => child.kill('SIGKILL'))
  let [stdout, stderr] = ['', '']
  const ready = Promise.withResolvers<string>()
  ready.promise.catch(() => undefined)
  child.stdout?.setEncoding('utf8').on('data', (part: string) => {
    stdout += part
    const { url } = stdout.includes('\n') ? (JSON.parse(stdout.split('\n')[0]) as { url?: string }) : {} // without url: why it failed
    if (url !== undefined) ready.resolve(url)
  })
  child.stderr?.setEncoding('utf8').on('data', (part: string) => (stderr += part))
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) =>
    child.on('close', (code) => {
      clearTimeout(timer)
      ready.reject(new Error(`it ended with ${code}: ${stderr}`))
      resolve({ code, stdout, stderr })
    }),
  )
  return { url: ready.promise, pid: child.pid, ended, signal: (name) => void child.kill(name) }
}

test('process: one line when ready, data under the home, exit code 0 after a signal with agents connected', async (t) => {
  const home = folderOf(t)
  const plane = start(t, home, '--port', '0')
  const url = await plane.url
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
  const answer = await fetch(`${url}/ready`)
  assert.deepEqual([answer.status, await answer.json()], [200, { ready: true, devicesOnline: 0, jobsQueued: 0 }])
  assert.equal(statSync(join(home, 'control-plane')).mode & 0o777, 0o700)
  const pool = await createPool(url)
  await FakeAgent.connect(t, pool.admin, url)
  const gone = await FakeAgent.connect(t, await pool.member('Gone'), url)
  gone.freeze() // a machine that never answers must not hold it
  const stopping = Date.now()
  plane.signal('SIGTERM')
  const { code, stdout } = await plane.ended
  assert.deepEqual(
    [code, stdout],
    [
      0,
      `{"event":"ready","url":"${url}","control_plane_key":"${loadControlPlaneKey(join(home, 'control-plane', 'control-plane.key'))?.id}"}\n`,
    ],
  )
  assert.ok(Date.now() - stopping < 25_000, `took ${Date.now() - stopping} ms`)
})

test('process: a port in use, an unknown flag and a damaged database are two clear lines and the right exit code', async (t) => {
  const first = start(t, folderOf(t), '--port', '0')
  const { port } = new URL(await first.url)
  const data = folderOf(t)
  writeFileSync(join(data, 'mesh.sqlite'), 'no database at all, only text '.repeat(50))
  const damaged = folderOf(t)
  writeFileSync(join(damaged, 'control-plane.key'), '-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqG\n')
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => join(damaged, name))
  writeFileSync(cert, 'no certificate')
  const cases = [
    [
      ['--port', '0', '--data', damaged],
      3,
      /^error: the key of the control plane in .*control-plane\.key is damaged\nhint: restore the file from a copy \(mesh control-plane-import-key/,
    ],
    [['--port', '0', '--tls-cert', cert], 2, /^error: --tls-cert and --tls-key are given together/],
    [
      ['--port', '0', '--tls-cert', cert, '--tls-key', key],
      3,
      /^error: cannot read .*key\.pem: .*ENOENT.*\nhint: check that the path after --tls-key/,
    ],
    [
      ['--port', '0', '--tls-cert', cert, '--tls-key', cert],
      3,
      /^error: cannot read .*cert\.pem: it holds no certificate in PEM .*\nhint: check that the path after --tls-cert/,
    ],
    [
      ['--port', port],
      3,
      process.platform === 'linux'
        ? /^error: port \d+ is in use\nhint: choose another with --port, or stop what holds it: a Mesh control plane \(process \d+\)\n$/
        : /^error: port \d+ is in use\nhint: choose/,
    ],
    [['--prot', '1'], 2, /^error: Unknown option '--prot'.*\nhint: mesh control-plane --help\n$/],
    [['--port', '99999'], 2, /^error: --port wants a whole number from 0 to 65535, got "99999"\nhint: .*\n$/],
    [['--port', '0', '--data', data], 3, /^error: cannot read .*mesh\.sqlite: .*not a database.*\nhint: .*\n$/],
    // a place that takes no folders: Node's own way of making them would try for ever
    ...(process.platform === 'linux'
      ? ([[['--port', '0', '--data', '/proc/none/plane'], 3, /^error: cannot write \/proc\/none\/.*\nhint: /]] as const)
      : []),
  ] as const
  for (const [args, code, text] of cases) {
    const result = await start(t, folderOf(t), ...args).ended
    assert.match(result.stdout, /^\{"error":\{"code":.*\}\n$/, `${args.join(' ')}: ${JSON.stringify(result)}`)
    assert.match(result.stderr, text)
    assert.equal(result.code, code)
  }
  first.signal('SIGINT')
  assert.equal((await first.ended).code, 0)
})

test('process: one control plane a data folder; the second is told who holds it, and a kill gives it back', async (t) => {
  const home = folderOf(t)
  const first = start(t, home, '--port', '0')
  await first.url
  const second = await start(t, home, '--port', '0').ended
  assert.equal(
    second.stderr,
    `error: a control plane already runs in ${join(home, 'control-plane')} (process ${first.pid})\nhint: use that one, or stop it; --data names another folder\n`,
  )
  assert.equal(second.code, 3)
  // of several at once, one
  first.signal('SIGKILL')
  await first.ended
  const three = [1, 2, 3].map(() => start(t, home, '--port', '0'))
  const settled = await Promise.allSettled(three.map(({ url }) => url))
  assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const one of three) one.signal('SIGTERM')
  for (const { code } of await Promise.all(three.map(({ ended }) => ended))) assert.ok(code === 0 || code === 3)
})

test(
  'process: a disk that is full under data and log ends nothing; started on one it says so',
  { skip: smallDiskImpossible() },
  async (t) => {
    const disk = createSmallDisk(t, 4)
    const log = openSync(join(disk.folder, 'log'), 'a')
    t.after(() => closeSync(log))
    const plane = startWith(t, folderOf(t), log, [
      '--port',
      '0',
      '--data',
      join(disk.folder, 'data'),
      '--log-level',
      'trace',
    ])
    const url = await plane.url
    const pool = await createPool(url)
    const agent = await FakeAgent.connect(t, pool.admin, url)
    disk.fill()
    for (let round = 0; round < 5; round++) {
      const other = await FakeAgent.connect(t, pool.admin, url)
      other.kill()
      assert.equal((await fetch(`${url}/ready`)).status, 503)
    }
    assert.deepEqual(await pool.admin.client(url).call('listRings', { params: { poolId: pool.poolId } }), [])
    agent.kill()
    const refused = await start(t, folderOf(t), '--port', '0', '--data', join(disk.folder, 'other')).ended
    assert.match(refused.stderr, /^error: cannot write .*: the disk is full .*\nhint: free some space/)
    assert.equal(refused.code, 5)
    disk.free()
    await eventually('it is ready again', async () => (await fetch(`${url}/ready`)).ok)
    await pool.member('Member')
    plane.signal('SIGTERM')
    assert.equal((await plane.ended).code, 0)
    assert.match(readFileSync(join(disk.folder, 'log'), 'utf8'), /the storage can be written again/)
  },
)
