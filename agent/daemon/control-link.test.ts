/** The link of an agent to its control plane, when something fails on this side of it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { type WebSocket, WebSocketServer } from 'ws'
import { createClient } from '../../shared/api/client.ts'
import type { ControlMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import { newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { silentLogger } from '../../shared/log.ts'
import { eventually } from '../../test/support/processes.ts'
import { ControlLink } from './control-link.ts'

/** A server that takes any socket. @returns its address */
const serve = async (t: TestContext, connected: (socket: WebSocket) => void): Promise<string> => {
  const server = createServer()
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', connected)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    sockets.close()
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('control link: state that cannot be read and a message that cannot be handled end nothing; it goes on by itself', async (t) => {
  const heard: string[] = []
  let welcomes = 0
  const url = await serve(t, (socket) =>
    socket.on('message', (data) => {
      heard.push((JSON.parse(String(data)) as { type: string }).type)
      for (let index = 0; index < 2; index++)
        socket.send(JSON.stringify({ type: 'welcome', serverTime: 1, heartbeatMs: 60_000 }))
    }),
  )
  const client = createClient({
    url,
    key: newKeyPair(),
    certificateOf: () => undefined,
    controlPlaneKey: newControlPlaneKey().id,
  })
  let isDamaged = true
  const problems: string[] = []
  const link = new ControlLink({
    client: () => client,
    logger: silentLogger(),
    prepare: async () => {},
    hello: () => {
      if (isDamaged) throw new MeshError('stateUnreadable', { file: 'pool.json', problem: 'damaged' })
      return { type: 'hello', version: '0', peerId: 'p', addresses: [], certificates: [] }
    },
    heartbeat: () => ({ type: 'heartbeat', freeMemoryBytes: 1 }),
    onMessage: (message: ControlMessage) => {
      assert.equal(message.type, 'welcome')
      if (++welcomes === 1) throw new Error('a defect')
    },
    onState: (isConnected, problem) => {
      if (!isConnected) problems.push(problem)
    },
  })
  t.after(() => link.stop())
  link.start()
  await eventually(5000, 'it says why it is not connected', () => (problems.length > 0 ? true : undefined))
  assert.match(problems[0], /cannot read pool.json: damaged/)
  isDamaged = false
  await eventually(10_000, 'it is connected and hears what follows', () => (welcomes >= 2 ? true : undefined))
  assert.equal(heard[0], 'hello')
  isDamaged = true
  link.refresh() // an address changed: nobody catches what a listener throws
  isDamaged = false
  link.refresh()
  await eventually(5000, 'it is heard again', () => (heard.length >= 2 ? true : undefined))
  assert.deepEqual(heard.slice(0, 2), ['hello', 'hello'])
})

test('control link: one of another version is not asked again within seconds', async (t) => {
  let attempts = 0
  const problems: string[] = []
  const client = createClient({ url: 'http://127.0.0.1:1', key: newKeyPair(), certificateOf: () => undefined })
  const link = new ControlLink({
    client: () => client,
    logger: silentLogger(),
    prepare: () =>
      Promise.reject(
        new MeshError(++attempts === 1 ? 'controlPlaneUnreachable' : 'protocolVersion', {
          url: '',
          problem: 'away',
          older: 'device 1',
        }),
      ),
    hello: () => assert.fail('nobody is there'),
    heartbeat: () => assert.fail('nobody is there'),
    onMessage: () => undefined,
    onState: (_, problem) => problems.push(problem),
  })
  t.after(() => link.stop())
  link.start()
  await eventually(5000, 'it tried again what was away', () => (problems.length === 2 ? true : undefined))
  assert.match(problems[1], /device 1 speaks version/)
  const before = attempts
  await new Promise((resolve) => setTimeout(resolve, 1500)) // longer than four of the shortest pauses
  assert.equal(attempts, before)
})

test('control link: that another control plane is away is told as well, in the same words', async (t) => {
  const clients = ['http://127.0.0.1:1', 'http://127.0.0.1:2'].map((url) =>
    createClient({ url, key: newKeyPair(), certificateOf: () => undefined }),
  )
  let attempts = 0
  const told: string[] = []
  const client = (): (typeof clients)[number] => clients[Math.min(1, attempts >> 2)]
  const link = new ControlLink({
    client,
    logger: silentLogger(),
    prepare: () => {
      attempts++
      return Promise.reject(new MeshError('controlPlaneUnreachable', { url: '', problem: 'away' }))
    },
    hello: () => assert.fail('nobody is there'),
    heartbeat: () => assert.fail('nobody is there'),
    onMessage: () => undefined,
    onState: (_, problem) => told.push(`${client().url} ${problem}`),
  })
  t.after(() => link.stop())
  link.start()
  await eventually(20_000, 'it tried the second', () => {
    link.check() // at once
    return attempts >= 6 ? true : undefined
  })
  assert.deepEqual(told, ['http://127.0.0.1:1 away', 'http://127.0.0.1:2 away'])
})

test('control link: how often it reports is not for the control plane alone to say', async (t) => {
  let beats = 0
  let pongs = 0
  const url = await serve(t, (socket) => {
    socket.on('message', (data: Buffer) => (beats += Number(data.toString().includes('heartbeat'))))
    socket.on('pong', () => pongs++)
    // more than 24 days: a timer would fire every millisecond
    socket.send(JSON.stringify({ type: 'welcome', serverTime: 1, heartbeatMs: 2 ** 40 }))
    for (let count = 0; count < 20; count++) setTimeout(() => socket.ping(), 25 * count)
  })
  const client = createClient({
    url,
    key: newKeyPair(),
    certificateOf: () => undefined,
    controlPlaneKey: 'c'.repeat(64) as never,
  })
  const link = new ControlLink({
    client: () => client,
    logger: silentLogger(),
    prepare: async () => {},
    onMessage: () => {},
    onState: () => {},
    hello: () => ({ type: 'hello', version: '0', peerId: 'p', addresses: [], certificates: [] }),
    heartbeat: () => ({ type: 'heartbeat', freeMemoryBytes: 1 }),
  })
  t.after(() => link.stop())
  link.start()
  await eventually(10_000, 'half a second passed', () => (pongs >= 20 ? true : undefined))
  assert.equal(beats, 0)
})
