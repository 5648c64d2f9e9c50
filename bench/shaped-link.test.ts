import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { after, test } from 'node:test'
import { ShapedLink, Uplink } from './shaped-link.ts'

const open: { close(): void }[] = []
after(() => {
  for (const one of open) one.close()
})

/** A server of the test, and a socket of a client that reaches it through a shaped link. */
const reach = async (serve: (socket: Socket) => void, { rttMs = 0, mbit = 0 } = {}): Promise<Socket> => {
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    open.push({ close: () => socket.destroy() })
    serve(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const link = new ShapedLink({
    port: (server.address() as AddressInfo).port,
    delayMs: rttMs / 2,
    uplinks: [new Uplink(mbit), new Uplink(mbit)],
  })
  const client = connect({ host: '127.0.0.1', port: await link.listen(), allowHalfOpen: true, noDelay: true })
  open.push({ close: () => server.close() }, link, { close: () => client.destroy() })
  await once(client, 'connect')
  return client
}

const echo = (socket: Socket): void => void socket.pipe(socket)

const readAll = async (socket: Socket): Promise<Buffer> => {
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

test('shaped link: a byte and its echo take the round trip, and little more', async () => {
  const client = await reach(echo, { rttMs: 20 })
  const times: number[] = []
  while (times.length < 15 || (Math.min(...times) >= 22 && times.length < 500)) {
    const start = performance.now()
    client.write('x')
    await once(client, 'data')
    times.push(performance.now() - start)
  }
  const least = Math.min(...times)
  assert.ok(least >= 20, `${least} ms`)
  assert.ok(least < 22, `${least} ms`) // the least of many: what other work on the machine adds is left out
})

test('shaped link: messages that follow each other closely are under way together', async () => {
  const client = await reach(echo, { rttMs: 100 })
  const start = performance.now()
  const all = readAll(client)
  for (let index = 0; index < 200; index++) {
    client.write('x')
    await new Promise((resolve) => setImmediate(resolve))
  }
  client.end()
  assert.equal((await all).length, 200)
  const ms = performance.now() - start
  assert.ok(ms >= 100 && ms < 10_000, `${ms} ms`) // one after another they would take 20 s
})

test('shaped link: bytes come at the rate, and whole', async () => {
  const sent = randomBytes(1_000_000)
  const client = await reach(
    (socket) => {
      socket.end(sent)
    },
    { mbit: 40 },
  )
  const start = performance.now()
  const got = await readAll(client)
  const mbit = (sent.length * 8) / 1000 / (performance.now() - start)
  assert.deepEqual(got, sent)
  assert.ok(mbit < 44, `${mbit} Mbit/s`) // a busy machine takes longer, never less
})

test('shaped link: the connections of one uplink share its rate', async () => {
  const server = createServer((socket) => socket.resume())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const uplink = new Uplink(40)
  open.push({ close: () => server.close() })
  const sendThrough = async (): Promise<void> => {
    const link = new ShapedLink({
      port: (server.address() as AddressInfo).port,
      delayMs: 0,
      uplinks: [uplink, new Uplink(0)],
    })
    open.push(link)
    const client = connect(await link.listen(), '127.0.0.1')
    client.end(randomBytes(500_000))
    client.resume()
    await once(client, 'close')
  }
  const start = performance.now()
  await Promise.all([sendThrough(), sendThrough()])
  const ms = performance.now() - start
  assert.ok(ms >= 195, `${ms} ms`) // each alone takes 100; a busy machine takes longer, never less
})

test('shaped link: order and content survive delay, rate and odd sizes, both ways at once', async () => {
  const client = await reach(echo, { rttMs: 6, mbit: 400 })
  const sent = randomBytes(2_000_000)
  const got = readAll(client)
  for (let at = 0, size = 1; at < sent.length; at += size, size = (size * 7 + 3) % 90_001)
    client.write(sent.subarray(at, at + size))
  client.end()
  assert.deepEqual(await got, sent)
})

test('shaped link: a sender is held up when the reader does not read', async () => {
  const client = await reach((socket) => void socket.pause())
  let written = 0
  const piece = Buffer.alloc(2 ** 20)
  while (client.write(piece, () => (written += piece.length))) await new Promise((resolve) => setImmediate(resolve))
  for (let index = 0; index < 100; index++) client.write(piece, () => (written += piece.length))
  let before = -1
  while (written > before) {
    before = written
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  assert.ok(written < 60 * 2 ** 20, `${written} bytes taken`)
})

test('shaped link: the end of one side comes after its bytes, and the other side may go on', async () => {
  const client = await reach(
    (socket) => {
      let asked = ''
      socket.on('data', (chunk) => (asked += String(chunk)))
      socket.on('end', () => socket.end(`heard ${asked}`))
    },
    { rttMs: 10 },
  )
  client.end('all of it')
  assert.equal(String(await readAll(client)), 'heard all of it')
})

test('shaped link: a connection that breaks on one side breaks on the other', async () => {
  for (const broken of ['near', 'far']) {
    const { promise: accepted, resolve: accept } = Promise.withResolvers<Socket>()
    const near = await reach(accept, { rttMs: 10 })
    const far = await accepted
    const [breaks, notices] = broken === 'near' ? [near, far] : [far, near]
    const noticed = new Promise<Error>((resolve) => notices.once('error', resolve))
    notices.resume()
    breaks.resetAndDestroy()
    assert.match(String(await noticed), /ECONNRESET/)
  }
})
