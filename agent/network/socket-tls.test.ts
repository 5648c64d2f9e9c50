import assert from 'node:assert/strict'
import { Socket } from 'node:net'
import { after, test } from 'node:test'
import { yamux } from '@chainsafe/libp2p-yamux'
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { createLibp2p } from 'libp2p'
import { chunkParts } from '../../shared/wire/message-stream.ts'
import { socketTls } from './socket-tls.ts'

const nodes: Libp2p[] = []
after(() => Promise.all(nodes.map((node) => node.stop())))

const protocol = '/test/echo'
const createNode = async (encrypter: typeof tls | typeof socketTls): Promise<Libp2p> => {
  const node = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [encrypter()],
    streamMuxers: [yamux()],
    connectionManager: { inboundConnectionThreshold: 1000 },
  })
  nodes.push(node)
  await node.handle(protocol, (stream) => {
    stream.addEventListener('message', ({ data }) => {
      for (const part of chunkParts(data)) stream.send(part.slice())
    })
  })
  return node
}

/** How often data of a connection pass from its TCP socket into JavaScript, still encrypted. */
const countReads = (connection: Connection): (() => number) => {
  const { socket } = (connection as unknown as { maConn: { socket: Socket } }).maConn
  assert.ok(socket instanceof Socket)
  let reads = 0
  socket.on('data', () => reads++)
  return () => reads
}

/** The listener's end: it may know of the connection a little later than the dialer. */
const incomingOf = async (listener: Libp2p): Promise<Connection> => {
  const [connection] = listener.getConnections()
  return (
    connection ??
    new Promise((resolve) =>
      listener.addEventListener('connection:open', ({ detail }) => resolve(detail), { once: true }),
    )
  )
}

const echo = async (stream: Stream, bytes: Uint8Array): Promise<Buffer> => {
  const parts: Uint8Array[] = []
  let got = 0
  const all = new Promise<void>((resolve, reject) => {
    stream.addEventListener('message', ({ data }) => {
      for (const part of chunkParts(data)) parts.push(part.slice())
      got += data.byteLength
      if (got >= bytes.length) resolve()
    })
    stream.addEventListener('close', (event) => reject(event.error ?? new Error('closed')))
  })
  for (let at = 0; at < bytes.length; at += 200_000) {
    if (!stream.send(bytes.subarray(at, at + 200_000))) await stream.onDrain()
  }
  await all
  return Buffer.concat(parts)
}

for (const [dialer, listener] of [
  [socketTls, socketTls],
  [socketTls, tls],
  [tls, socketTls],
] as const) {
  test(`${dialer.name} dials ${listener.name}: 6 MB there and back, and each knows the other`, async () => {
    const [one, other] = [await createNode(dialer), await createNode(listener)]
    const connection = await one.dial(other.getMultiaddrs()[0])
    assert.equal(connection.remotePeer.toString(), other.peerId.toString())
    assert.equal((await incomingOf(other)).remotePeer.toString(), one.peerId.toString())
    assert.match(connection.encryption ?? '', /tls/)
    const [here, there] = [countReads(connection), countReads(await incomingOf(other))]
    const bytes = Uint8Array.from({ length: 6_000_000 }, (_, i) => (i * 31 + (i >> 8)) & 255)
    assert.ok((await echo(await connection.newStream(protocol), bytes)).equals(bytes))
    assert.equal(here() === 0, dialer === socketTls)
    assert.equal(there() === 0, listener === socketTls)
  })
}

for (const how of ['close', 'abort'] as const) {
  test(`${how} on one side ends the connection on the other`, async () => {
    const [one, other] = [await createNode(socketTls), await createNode(socketTls)]
    const connection = await one.dial(other.getMultiaddrs()[0])
    await connection.newStream(protocol)
    const incoming = await incomingOf(other)
    const ended = new Promise<void>((resolve) => incoming.addEventListener('close', () => resolve()))
    if (how === 'close') await connection.close()
    else connection.abort(new Error('enough'))
    await ended
    assert.equal(incoming.status === 'open', false)
    assert.equal(other.getConnections().length, 0)
    assert.equal(one.getConnections().length, 0)
  })
}

test('connections that end in the middle of traffic, on either side, leave both processes alive and nothing open', async () => {
  const [one, other] = [await createNode(socketTls), await createNode(socketTls)]
  const open = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
  const before = open()
  for (let round = 0; round < 40; round++) {
    const connection = await one.dial(other.getMultiaddrs()[0])
    const incoming = await incomingOf(other)
    const stream = await connection.newStream(protocol)
    const ended = Promise.all(
      [connection, incoming].map(
        (end) => new Promise<void>((resolve) => end.addEventListener('close', () => resolve())),
      ),
    )
    const victim = round % 2 === 0 ? connection : incoming
    stream.addEventListener('message', () => round % 3 === 0 && victim.abort(new Error('inside a read')))
    for (let i = 0; i < 20; i++) stream.send(new Uint8Array(100_000))
    if (round % 3 === 1) setTimeout(() => victim.abort(new Error('a little later')), round / 10)
    else if (round % 3 === 2) victim.abort(new Error('at once'))
    await ended
  }
  assert.equal(one.getConnections().length + other.getConnections().length, 0)
  for (let waited = 0; open() > before && waited < 50; waited++) await new Promise((resolve) => setTimeout(resolve, 20))
  assert.ok(open() <= before, 'sockets below are closed too')
})

test('a dialer that expects another peer is refused', async () => {
  const [one, other, third] = [await createNode(socketTls), await createNode(socketTls), await createNode(socketTls)]
  const address = other.getMultiaddrs()[0].decapsulate('/p2p').encapsulate(`/p2p/${third.peerId.toString()}`)
  await assert.rejects(one.dial(address), /expected|unexpected|peer/i)
  assert.equal(one.getConnections().length, 0)
})

test('a peer that goes away, or says nonsense, during the handshake leaves the listener alive', async () => {
  const listener = await createNode(socketTls)
  const port = Number(listener.getMultiaddrs()[0].toString().split('/tcp/')[1].split('/')[0])
  for (const nonsense of [
    '',
    `GET / HTTP/1.1\r\nCookie: ${'x'.repeat(100)}\r\n\r\n`,
    '\x13/multistream/1.0.0\n\x0b/tls/1.0.0\nGET / HTTP/1.1\r\n\r\n',
  ]) {
    const socket = new Socket().on('error', () => {})
    const closed = new Promise((resolve) => socket.on('close', resolve))
    socket.connect(port, '127.0.0.1', () => (nonsense === '' ? socket.destroy() : socket.write(nonsense)))
    socket.resume()
    await closed
  }
  const friend = await createNode(socketTls)
  assert.equal((await friend.dial(listener.getMultiaddrs()[0])).status, 'open')
})
