/** The port of the control plane as somebody attacks it who is on the way, or who passes for it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { limits } from '../../shared/limits.ts'
import { within } from '../../test/support/processes.ts'
import { makeLeaf } from '../tls/certificates.ts'
import {
  createKey,
  createPool,
  eventually,
  FakeAgent,
  manifest,
  type Plane,
  quickSettings,
  startPlane,
  submission,
  TestDevice,
} from './plane.ts'

/** 127.0.0.1 is this machine; 127.0.0.2 stands for another one. */
const isLocal = (address: string): boolean => address.endsWith('127.0.0.1')
const elsewhere = '127.0.0.2'

const start = (t: TestContext, handshakeMs?: number): Promise<Plane> =>
  startPlane(t, undefined, { ...quickSettings, port: { isLocal, handshakeMs } })
const tlsOf = (url: string): string => url.replace('http:', 'https:')

const listening = async (t: TestContext, server: ReturnType<typeof createServer>): Promise<number> => {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket.on('error', () => socket.destroy())))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return (server.address() as AddressInfo).port
}

/** Passes bytes on and keeps them. */
const wiretap = async (
  t: TestContext,
  url: string,
): Promise<{ readonly port: number; readonly seen: () => Buffer; readonly connections: () => number }> => {
  const seen: Buffer[] = []
  let connections = 0
  const port = await listening(
    t,
    createServer((near) => {
      connections += 1
      const far = connect(Number(new URL(url).port), '127.0.0.1')
      t.after(() => far.destroy())
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        from
          .on('data', (chunk) => seen.push(chunk))
          .on('error', () => to.destroy())
          .on('close', () => to.destroy())
        from.pipe(to)
      }
    }),
  )
  return { port, seen: () => Buffer.concat(seen), connections: () => connections }
}

/** All that comes until the other side ends. */
const hear = async (socket: Socket): Promise<string> => {
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk)).on('error', () => undefined)
  await once(socket, 'close')
  return Buffer.concat(chunks).toString()
}

const secret = 'the duck flies at midnight'

test('tls: commands, agents, apps and large bodies come through, and who reads the wire sees nothing of them', async (t) => {
  const { url, key } = await start(t)
  const tap = await wiretap(t, url)
  const tapped = `https://127.0.0.1:${tap.port}`
  const pool = await createPool(tapped)
  const member = await pool.member('Laptop')
  const agent = await FakeAgent.connect(t, member, tapped)
  await member
    .client(tapped, key)
    .call('joinRing', { params: { poolId: pool.poolId }, body: { model: manifest, quant: 'q8', share: 1 } })
  const { app } = await createKey(member, pool, url)
  const job = await pool.admin
    .client(tapped, key)
    .call('submitJob', { params: { poolId: pool.poolId }, body: { ...submission('a'), prompt: secret } })
  const large = await member.client(tapped, key).call('submitJob', {
    params: { poolId: pool.poolId },
    body: { ...submission('b'), prompt: `${secret} `.repeat(7000) },
  })
  assert.equal(
    (await member.client(tapped).call('getJob', { params: { poolId: pool.poolId, jobId: large.jobId } })).state,
    'queued',
  )
  assert.ok((await app.call('listRings', { params: { poolId: pool.poolId } })).length > 0)
  agent.kill()
  assert.ok(tap.connections() < 15, `${tap.connections()} connections: they are not kept`)
  for (const text of [secret, job.jobId, pool.poolId, 'Laptop', 'GET /api']) assert.ok(!tap.seen().includes(text), text)
  assert.ok(tap.seen().length > 150_000)
  // the wiretap works: on this machine plain HTTP is served
  await member
    .client(`http://127.0.0.1:${tap.port}`)
    .call('getJob', { params: { poolId: pool.poolId, jobId: job.jobId } })
  assert.ok(tap.seen().includes(job.jobId))
})

test('tls: somebody in between with another key is refused before a byte of a request is sent', async (t) => {
  const { key } = await start(t)
  const other = newControlPlaneKey()
  const heard: string[] = []
  const server = createTlsServer(await makeLeaf(other, { pem: '', names: [] }, ['127.0.0.1'], Date.now()), (socket) =>
    socket.on('data', (chunk) => heard.push(String(chunk))).on('error', () => undefined),
  )
  const url = `https://127.0.0.1:${await listening(t, server)}`
  const device = new TestDevice('A')
  await assert.rejects(device.client(url, key).call('getDevice', {}), {
    code: 'controlPlaneChanged',
    exitCode: 7,
    fields: { url, known: key.slice(0, 8), got: other.id.slice(0, 8) },
  })
  await assert.rejects(device.client(url, key).call('health', {}), { code: 'controlPlaneChanged' })
  const { createConnection } = await device.client(url, key).socket()
  const error = await new Promise((resolve) => createConnection?.({ port: 1 }, resolve as () => void))
  assert.match(String(error), /is not the one that this device knows/)
  assert.deepEqual(heard, [])
})

test('tls: a control plane that passes requests on to another one gets nothing done there', async (t) => {
  const { url, key } = await start(t)
  const pool = await createPool(url)
  const victim = await pool.member('Victim')
  const codes: string[] = []
  const forward =
    (change: Record<string, string>) =>
    async (request: IncomingMessage): Promise<void> => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      const { host: _, 'content-length': __, connection: ___, 'transfer-encoding': ____, ...sent } = request.headers
      const body = chunks.length === 0 ? undefined : Buffer.concat(chunks)
      const answer = await fetch(url + String(request.url), {
        method: request.method,
        headers: { ...(sent as Record<string, string>), ...change },
        body,
      })
      codes.push(((await answer.json()) as { error: { code: string } }).error?.code ?? `${answer.status}`)
    }
  const own = newControlPlaneKey()
  const identity = await makeLeaf(own, { pem: '', names: [] }, ['127.0.0.1'], Date.now())
  for (const [change, wanted] of [
    [{}, 'wrongControlPlane'],
    [{ 'mesh-recipient': key }, 'signatureInvalid'],
  ] as const) {
    codes.length = 0
    const inner = createHttpServer(
      (request, reply) => void forward(change)(request).then(() => reply.writeHead(503).end('{}')),
    )
    const server = createTlsServer(identity, (socket) => inner.emit('connection', socket))
    const named = `https://127.0.0.1:${await listening(t, server)}`
    const client = victim.client(named) // it was told of no other
    await assert.rejects(
      client.call('submitJob', { params: { poolId: pool.poolId }, body: submission('as the victim') }),
    )
    await assert.rejects(client.call('listPeers', { params: { poolId: pool.poolId } }))
    await assert.rejects(
      client.call('publishCertificate', { params: { poolId: pool.poolId }, body: { certificate: 'x' } }),
    )
    assert.equal(client.controlPlaneKey, own.id)
    assert.deepEqual(codes, [wanted, wanted, wanted])
  }
  assert.deepEqual(await pool.admin.client(url).call('listJobs', { params: { poolId: pool.poolId } }), [])
})

test('tls: plain HTTP of another machine is refused in one line that says where TLS is, and its body is not read', async (t) => {
  const { url } = await start(t)
  const { port } = new URL(url)
  for (const head of [
    'GET /health HTTP/1.1\r\nhost: x\r\n\r\n',
    `POST /api/devices HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n${'x'.repeat(200_000)}`,
    'G',
    '\0\0\0',
  ]) {
    const socket = connect({ port: Number(port), host: '127.0.0.1', localAddress: elsewhere })
    socket.end(head)
    const answer = await hear(socket)
    assert.match(answer, /^HTTP\/1\.1 426 Upgrade Required\r\n/)
    const { error } = JSON.parse(answer.split('\r\n\r\n')[1]) as { error: { code: string; fields: { url: string } } }
    assert.deepEqual([error.code, error.fields.url], ['tlsRequired', `https://127.0.0.1:${port}`])
  }
  assert.equal((await fetch(`${url}/health`)).status, 200)
  const open = await startPlane(t, undefined, { ...quickSettings, port: { isLocal, plainHttp: true } })
  const socket = connect({ port: Number(new URL(open.url).port), host: '127.0.0.1', localAddress: elsewhere })
  socket.write('GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  assert.match(await hear(socket), /^HTTP\/1\.1 200 /)
})

test('tls: whoever stays silent, or begins a handshake and does not go on, is cut; others are served meanwhile', async (t) => {
  const { url, key } = await start(t, 2000)
  const { port } = new URL(url)
  const slow = ['', '\x16', '\x16\x03\x01\x02\x00', '\x16\x03\x01\xff\xff'].flatMap((first) =>
    Array.from({ length: 20 }, () => {
      const socket = connect({ port: Number(port), host: '127.0.0.1', localAddress: elsewhere })
      const drip = setInterval(() => socket.write('\0'), 50)
      if (first === '') clearInterval(drip)
      else socket.write(first, 'latin1')
      return hear(socket)
        .catch(() => '')
        .finally(() => clearInterval(drip)) // cut in the middle of a word, where others came
    }),
  )
  const pool = await createPool(tlsOf(url))
  assert.equal((await pool.admin.client(tlsOf(url), key).call('health', {})).status, 'ok')
  await within(12_000, 'they are cut', Promise.all(slow))
})

test('tls: one address has no more than so many connections without a request; others are served', async (t) => {
  const { url, key } = await start(t, 120_000) // so that none is cut for being slow
  const { port } = new URL(url)
  const idle = Array.from({ length: 80 }, () =>
    connect({ port: Number(port), host: '127.0.0.1', localAddress: elsewhere }).on('error', () => undefined),
  )
  t.after(() => idle.forEach((socket) => socket.destroy()))
  const cut = await new Promise<number>((resolve) => {
    let ended = 0
    for (const socket of idle) {
      socket.resume().once('close', () => {
        ended += 1
        if (ended === 16) resolve(ended)
      })
    }
    setTimeout(() => resolve(ended), 60_000).unref()
  })
  assert.equal(cut, 16)
  const device = new TestDevice('A')
  await assert.rejects(device.client(tlsOf(url), key).call('getDevice', {}), { code: 'deviceUnknown' })
})

test('tls: who holds all places of an address in silence makes room for who comes, the oldest first', async (t) => {
  const { url } = await startPlane(t, undefined, {
    ...quickSettings,
    port: { isLocal, handshakeMs: 60_000, patienceMs: 1 },
  })
  const port = Number(new URL(url).port)
  const cut: number[] = []
  let came = 0
  const hold = async (): Promise<void> => {
    const index = came++
    const socket = connect({ port, host: '127.0.0.1', localAddress: elsewhere }).on('error', () => undefined)
    t.after(() => socket.destroy())
    socket.resume().once('close', () => cut.push(index))
    await once(socket, 'connect')
    if (index % 2 === 1) socket.write('\x16\x03\x01', 'latin1') // in the midst of a handshake
  }
  while (came < limits.waitingConnectionsOfAddress) await hold()
  for (let round = 1; round <= 4; round++) {
    const socket = connectTls({
      socket: connect({ port, host: '127.0.0.1', localAddress: elsewhere }),
      rejectUnauthorized: false,
    })
    socket.write('GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
    assert.match(await hear(socket), /^HTTP\/1\.1 200 /)
    await eventually('the oldest made room', async () => cut.length === round)
    await hold() // where the one that was served had its place
  }
  assert.deepEqual(cut, [0, 1, 2, 3])
})

test('tls: a connection that is given up before a request frees its place at once', async (t) => {
  const { url, key } = await start(t, 60_000)
  for (const first of ['', '\x16\x03\x01\x02\x00']) {
    const gone = Array.from({ length: 60 }, async () => {
      const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', localAddress: elsewhere })
      await once(socket, 'connect')
      socket.end(first, 'latin1')
      await hear(socket)
    })
    await Promise.all(gone)
  }
  for (let count = 0; count < 70; count++) {
    const socket = connectTls({
      socket: connect({ port: Number(new URL(url).port), host: '127.0.0.1', localAddress: elsewhere }),
      rejectUnauthorized: false,
    })
    await once(socket, 'secureConnect')
    socket.destroy() // before its last message is sent
  }
  const client = new TestDevice('A').client(tlsOf(url), key)
  assert.equal((await client.call('health', {})).status, 'ok')
})

test('tls: handshakes of one household are counted; connections that stand go on', async (t) => {
  const { url } = await startPlane(t, undefined, {
    ...quickSettings,
    port: { isLocal, handshakes: { most: 20, perSecond: 1 } },
  })
  const { port } = new URL(url)
  const shake = async (localAddress: string): Promise<TLSSocket | undefined> => {
    const socket = connectTls({
      socket: connect({ port: Number(port), host: '127.0.0.1', localAddress }),
      rejectUnauthorized: false,
    }).on('error', () => undefined)
    t.after(() => socket.destroy())
    return new Promise((resolve) =>
      socket.once('secureConnect', () => resolve(socket)).once('close', () => resolve(undefined)),
    )
  }
  const made: (TLSSocket | undefined)[] = []
  for (let count = 0; count < 40; count++) made.push(await shake(elsewhere))
  const taken = made.filter((socket) => socket !== undefined)
  assert.ok(taken.length >= 20 && taken.length < 30, `${taken.length} handshakes`)
  assert.ok(await shake('127.0.0.3'), 'another household is served')
  taken[0].write('GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  assert.match(await hear(taken[0]), /^HTTP\/1\.1 200 /)
})

test('tls: devices go by the key, whatever name and date the certificate bears', async (t) => {
  const key = newControlPlaneKey()
  const old = await makeLeaf(
    key,
    { pem: '', names: ['elsewhere.example.org'] },
    ['elsewhere.example.org'],
    Date.UTC(2001),
  )
  const inner = createHttpServer((_, reply) => reply.end('{"status":"ok"}'))
  const url = `https://127.0.0.1:${await listening(
    t,
    createTlsServer(old, (socket) => inner.emit('connection', socket)),
  )}`
  assert.equal((await new TestDevice('A').client(url, key.id).call('health', {})).status, 'ok')
})

test('tls: an address where nothing speaks TLS is told as such', async (t) => {
  const plain = createHttpServer((_, reply) => reply.end('{}'))
  const url = `https://127.0.0.1:${await listening(t, plain)}`
  await assert.rejects(new TestDevice('A').client(url).call('getDevice', {}), {
    code: 'controlPlaneUnreachable',
    message: /speaks no TLS: it runs an older version of mesh/,
  })
})
