/**
 * What connections cost: those of strangers, streams and sockets that nobody reads, and messages that are too large.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import WebSocket, { WebSocketServer } from 'ws'
import { limits } from '../../shared/limits.ts'
import { boundSocket } from '../service/bound-socket.ts'
import { Connections } from '../service/connections.ts'
import { networks } from '../store/tables.ts'
import { openDatabase } from '../store/database.ts'
import {
  createPool,
  eventually,
  FakeAgent,
  quickSettings,
  startPlane,
  submission,
  TestDevice,
  timings,
} from './plane.ts'
import { activeRing } from './steps.ts'

/** Agents of tests send no heartbeat, and a busy machine takes its time. */
const patient = { ...quickSettings, leaseMs: 120_000 }

/** Sockets that say nothing, from these addresses in turn. @returns how many are open */
const hold = (t: TestContext, url: string, count: number, from: readonly string[] = ['127.0.0.1']): (() => number) => {
  const sockets: Socket[] = Array.from({ length: count }, (_, index) => {
    const socket = connect({
      port: Number(new URL(url).port),
      host: '127.0.0.1',
      localAddress: from[index % from.length],
    })
    socket.on('error', () => undefined)
    return socket.resume()
  })
  t.after(() => sockets.forEach((socket) => socket.destroy()))
  return () => sockets.filter(({ destroyed, connecting }) => !destroyed && !connecting).length
}

test('connections: strangers hold few, members come in and stay, from the same address too', async (t) => {
  const { url, services } = await startPlane(t, undefined, patient)
  const pool = await createPool(url)
  const agent = await FakeAgent.connect(t, pool.admin, url)
  for (const [count, from] of [
    [300, ['127.0.0.9']],
    [1500, Array.from({ length: 150 }, (_, index) => `127.0.1.${index + 1}`)],
  ] as const) {
    const open = hold(t, url, count, from)
    await eventually(
      'the others are cut',
      async () => services.connections.pendingCount >= 100 && open() <= 512 && services.connections.pendingCount <= 512,
      20_000,
    )
  }
  // one that shares the address of members
  const before = services.connections.pendingCount
  const held = hold(t, url, 400)
  await eventually(
    'they hold places beside those of strangers',
    async () => held() > 300 && services.connections.pendingCount > before,
    20_000,
  )
  assert.equal((await pool.admin.client(url).call('getPool', { params: { poolId: pool.poolId } })).online, 1)
  const member = await pool.member('Member')
  await FakeAgent.connect(t, member, url)
  assert.deepEqual(await agent.unread(), [])
  assert.equal((await member.client(url).call('getPool', { params: { poolId: pool.poolId } })).online, 2)
})

test('connections: a connection that proved itself holds no place; one sender has so many of them', async (t) => {
  const connections = new Connections(Date.now, { strangers: 10, known: 10, ofHousehold: 10, patienceMs: 0 })
  const accepted: Socket[] = []
  const server = createServer((socket) => accepted.push(socket.resume().on('error', () => undefined)))
  connections.watch(server)
  t.after(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as { port: number }
  const clients: Socket[] = []
  t.after(() => clients.forEach((client) => client.destroy()))
  const open = async (): Promise<Socket> => {
    const client = connect(port, '127.0.0.1').on('error', () => undefined)
    clients.push(client)
    await once(client, 'connect')
    await eventually('it is seen', async () => accepted.some(({ remotePort }) => remotePort === client.localPort))
    return accepted.find(({ remotePort }) => remotePort === client.localPort) as Socket
  }
  for (let count = 0; count < 160; count++) connections.proved(await open(), 'member')
  assert.equal(connections.pendingCount, 0)
  connections.proved(await open(), 'member')
  assert.equal(connections.pendingCount, 1)
  connections.proved(await open(), 'another')
  assert.equal(connections.pendingCount, 1)
  clients[0].destroy()
  await eventually('its end is seen', async () => accepted.filter(({ destroyed }) => destroyed).length === 1)
  connections.proved(await open(), 'member')
  assert.equal(connections.pendingCount, 1)
  for (let count = 0; count < 20; count++) await open()
  assert.equal(connections.pendingCount, 10)
  await eventually('the oldest made room', async () => accepted.filter(({ destroyed }) => destroyed).length === 1 + 11)
})

test('connections: an answer of a megabyte comes from a member, of a stranger nothing larger than a hello is collected', async (t) => {
  const { url } = await startPlane(t, undefined, patient)
  const pool = await createPool(url)
  const member = await FakeAgent.connect(t, pool.admin, url)
  member.send({
    type: 'job-done',
    jobId: 'job_unknown',
    epoch: 1,
    finishReason: 'stop',
    usage: { promptTokens: 1, completionTokens: 1, totalTokens: 2 },
    timings,
    text: 'x'.repeat(2 ** 20),
    tokens: [],
  })
  assert.deepEqual(
    (await member.unread()).map(({ type }) => type),
    ['job-settled'],
  ) // of no job that it knows
  const stranger = new TestDevice('Stranger')
  await stranger.register(url)
  const { url: address, headers } = await stranger.client(url).socket()
  const socket = new WebSocket(address, { headers })
  await once(socket, 'open')
  assert.equal(socket.extensions, '')
  socket.send(Buffer.alloc(limits.helloBytes / 2), { fin: false })
  socket.send(Buffer.alloc(limits.helloBytes), { fin: false }) // never ends
  assert.equal(((await once(socket, 'close')) as [number])[0], 1009)
})

test('connections: a member that says more than any agent is cut, and comes again', async (t) => {
  const { url } = await startPlane(t, undefined, patient)
  const pool = await createPool(url)
  const member = await FakeAgent.connect(t, pool.admin, url)
  const text = JSON.stringify({ type: 'heartbeat', freeMemoryBytes: 1 })
  for (let count = 0; count < 9000; count++) member.sendText(text)
  assert.deepEqual(await member.unread(), [])
  for (let count = 0; count < 40_000; count++) member.sendText(text)
  assert.equal((await member.next('error')).error.code, 'tooManyRequests')
  await member.closed
  await eventually('it has a little again', async () => {
    await new Promise((resolve) => setTimeout(resolve, 100))
    return FakeAgent.connect(t, pool.admin, url).then(
      () => true,
      () => false,
    )
  })
})

test('connections: a socket whose reader is slow keeps little, and is cut', async (t) => {
  const wss = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  t.after(() => wss.close())
  await once(wss, 'listening')
  const client = new WebSocket(`ws://127.0.0.1:${(wss.address() as { port: number }).port}`)
  t.after(() => client.terminate())
  const [[server]] = (await Promise.all([once(wss, 'connection'), once(client, 'open')])) as unknown as [[WebSocket]]
  client.pause()
  const bound = boundSocket(server)
  const message = {
    type: 'error',
    error: { code: 'x', message: 'y'.repeat(100_000), hint: '', fields: {}, exit: 1 },
  } as unknown as Parameters<typeof bound.send>[0]
  const fill = (most: number): number => {
    let kept = 0
    for (let count = 0; count < 500 && server.readyState === WebSocket.OPEN; count++) {
      bound.send(message)
      kept = Math.max(kept, server.bufferedAmount)
      if (kept > most) break
    }
    return kept
  }
  bound.allow('member')
  assert.ok(fill(5e6) > 5e6, 'a member may be slow for a while')
  assert.equal(server.readyState, WebSocket.OPEN)
  bound.allow('stranger')
  bound.send(message)
  assert.notEqual(server.readyState, WebSocket.OPEN)
})

test('connections: what the reader of a stream does not take waits in the store, and comes in order', async (t) => {
  const { url, server } = await startPlane(t, undefined, patient)
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  const pool = await createPool(url)
  const {
    agents: [leader],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 1)
  const params = { poolId: pool.poolId }
  const { jobId } = await pool.admin
    .client(url)
    .call('submitJob', { params, body: submission('a', { maxTokens: 500 }) })
  await leader.next('job-assign')
  assert.ok(ringId)
  const answer = await pool.admin.client(url).open('jobEvents', { params: { ...params, jobId } })
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader()
  const piece = 'x'.repeat(100_000)
  leader.send({ type: 'job-started', jobId, epoch, promptTokens: 1 })
  for (let index = 0; index < 100; index++)
    leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: index, tokens: [7], text: piece })
  await leader.unread()
  const kept = Math.max(...[...sockets].map(({ writableLength }) => writableLength))
  assert.ok(kept < 1e6, `${kept} bytes wait for a reader that reads nothing`)
  leader.send({
    type: 'job-done',
    jobId,
    epoch,
    finishReason: 'length',
    usage: { promptTokens: 1, completionTokens: 100, totalTokens: 101 },
    timings,
    text: '',
    tokens: Array.from({ length: 100 }, () => 7),
  })
  let text = ''
  for (let next = await reader.read(); !next.done; next = await reader.read())
    text += Buffer.from(next.value).toString()
  const numbers = [...text.matchAll(/^id: (\d+)$/gm)].map(([, number]) => Number(number))
  assert.deepEqual(
    numbers,
    Array.from({ length: numbers.length }, (_, index) => index),
  )
  assert.equal(text.match(/"type":"tokens"/g)?.length, 100)
  assert.match(text, /event: end/)
})

test('connections: a member follows so many streams at once; each that ends makes room', async (t) => {
  const { url, services } = await startPlane(t, undefined, patient)
  const pool = await createPool(url)
  await activeRing(t, pool, url, 1)
  const params = { poolId: pool.poolId }
  const { jobId } = await pool.admin.client(url).call('submitJob', { params, body: submission('a') })
  const ends = Array.from({ length: 127 }, () =>
    services.hub.listen('job_other', { event: () => undefined }, pool.admin.deviceId),
  )
  const open = (): Promise<Response> => pool.admin.client(url).open('jobEvents', { params: { ...params, jobId } })
  const last = await open()
  await assert.rejects(open(), { code: 'overloaded' })
  ends[0]()
  ends[0]() // told twice, it counts once
  const next = await open()
  await assert.rejects(open(), { code: 'overloaded' })
  await Promise.all([last, next].map((answer) => answer.body?.cancel()))
  await eventually('their ends are seen', async () =>
    open()
      .then((answer) => answer.body?.cancel())
      .then(
        () => true,
        () => false,
      ),
  )
})

test('connections: networks that nobody is in any more are forgotten', async (t) => {
  const { url, folder, stop } = await startPlane(t, undefined, patient)
  const pool = await createPool(url)
  const device = new TestDevice('Stranger')
  const register = (networkId: string): Promise<unknown> =>
    device.client(url).call('registerDevice', {
      body: {
        networkId,
        name: 'S',
        capabilities: { cpuCores: 1, memoryBytes: 1, platform: 'x', arch: 'y', backends: [] },
      },
    })
  for (let index = 0; index < 20; index++) await register(`network-${index}`)
  await register('home')
  await register('last')
  assert.ok(pool.poolId)
  await stop()
  const { store, close } = openDatabase(join(folder, 'mesh.sqlite'))
  t.after(() => close())
  assert.deepEqual(
    store
      .select({ id: networks.networkId })
      .from(networks)
      .all()
      .map(({ id }) => id)
      .toSorted(),
    ['home', 'last'],
  )
})
