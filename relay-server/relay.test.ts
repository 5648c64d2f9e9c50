/** The relay as a process, and agents that reach each other only through it. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('./main.ts', import.meta.url))

const folderOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-relay-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

interface Running {
  readonly addresses: string[]
  stop(): Promise<number | null>
}

const start = (t: TestContext, ...args: string[]): Promise<Running> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, '--json', '--host', '127.0.0.1', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    t.after(() => child.kill('SIGKILL'))
    let errors = ''
    child.stderr.on('data', (part: Buffer) => (errors += part.toString()))
    const ended = new Promise<number | null>((done) => child.on('exit', done))
    child.stdout.once('data', (line: Buffer) => {
      const { addresses } = JSON.parse(line.toString()) as { addresses?: string[] }
      if (addresses === undefined) return // it failed: the reason is on stderr as well
      resolve({
        addresses,
        stop: () => {
          child.kill('SIGTERM')
          return ended
        },
      })
    })
    void ended.then((code) => reject(new Error(`exit ${code}: ${errors}`)))
  })

test('relay: keeps its identity over a restart, writes its settings, stops cleanly', async (t) => {
  const data = folderOf(t)
  const first = await start(t, '--port', '0', '--data', data)
  const [, peer] = first.addresses[0].split('/p2p/')
  assert.equal(statSync(join(data, 'relay.key')).mode & 0o777, 0o600)
  assert.deepEqual(
    (JSON.parse(readFileSync(join(data, 'relay.json'), 'utf8')) as { addresses: string[] }).addresses,
    first.addresses,
  )
  assert.equal(await first.stop(), 0)
  const second = await start(t, '--port', '0', '--data', data)
  assert.equal(second.addresses[0].split('/p2p/')[1], peer)
  assert.equal(await second.stop(), 0)
})

test('relay: announces the address it is told', async (t) => {
  const relay = await start(t, '--port', '0', '--data', folderOf(t), '--announce', '/ip4/203.0.113.7/tcp/4001')
  assert.match(relay.addresses[0], /^\/ip4\/203\.0\.113\.7\/tcp\/4001\/p2p\//)
})

test('relay: a port in use and a damaged key are clear errors', async (t) => {
  const data = folderOf(t)
  const relay = await start(t, '--port', '0', '--data', data)
  const port = /tcp\/(\d+)/.exec(relay.addresses[0])?.[1] as string
  await assert.rejects(start(t, '--port', port, '--data', folderOf(t)), /exit 3: .*error: port \d+ is in use\nhint: /s)
  await relay.stop()
  writeFileSync(join(data, 'relay.key'), 'not a key')
  await assert.rejects(
    start(t, '--port', '0', '--data', data),
    /exit 3: .*error: cannot read .*relay\.key: not a key of 64 hex digits\nhint: /s,
  )
})

test('relay: serves the pools it was told to, also the next time, until --open', async (t) => {
  const data = folderOf(t)
  const [one, other] = ['ab'.repeat(32), 'CD'.repeat(32)]
  const poolsAfter = async (...args: string[]): Promise<string[]> => {
    const relay = await start(t, '--port', '0', '--data', data, ...args)
    assert.equal(await relay.stop(), 0)
    return (JSON.parse(readFileSync(join(data, 'relay.json'), 'utf8')) as { servedPools: string[] }).servedPools
  }
  assert.deepEqual(await poolsAfter(), [])
  assert.deepEqual(await poolsAfter('--pool', one, '--pool', other), [one, other])
  assert.deepEqual(await poolsAfter(), [one, other])
  assert.deepEqual(await poolsAfter('--open'), [])
  assert.deepEqual(await poolsAfter(), [])
  await assert.rejects(
    start(t, '--data', folderOf(t), '--pool', 'home'),
    /exit 2: .*--pool wants the id of a pool \(64 hex digits, from mesh pool-list\), got "home"/s,
  )
  await assert.rejects(start(t, '--data', folderOf(t), '--pool', one, '--open'), /exit 2: .*give one of them/s)
})

test('relay: a second one in the same folder is refused, and says who is there', async (t) => {
  const data = folderOf(t)
  const first = await start(t, '--port', '0', '--data', data)
  await assert.rejects(
    start(t, '--port', '0', '--data', data),
    /exit 3: .*error: a relay already runs in .* \(process \d+\)\nhint: use that one/s,
  )
  assert.equal(await first.stop(), 0)
  const [, peer] = first.addresses[0].split('/p2p/')
  assert.match((await start(t, '--port', '0', '--data', data)).addresses[0], new RegExp(peer))
})
