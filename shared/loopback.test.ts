import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { isLoopback } from './loopback.ts'

test('loopback: 127.0.0.0/8 and ::1, however they are written', () => {
  for (const address of [
    '127.0.0.1',
    '127.255.255.254',
    '127.1.2.3',
    '::1',
    '0:0:0:0:0:0:0:1',
    '::0001',
    '::1%lo',
    '::ffff:127.0.0.1',
    '::FFFF:127.9.9.9',
    '::ffff:7f00:1',
    '0:0:0:0:0:ffff:127.0.0.1',
  ])
    assert.equal(isLoopback(address), true, address)
})

test('loopback: nothing that another machine can have, and no name that only begins like one', () => {
  for (const address of [
    '',
    '126.255.255.255',
    '128.0.0.1',
    '10.127.0.1',
    '0.0.0.0',
    '::',
    '::2',
    '1::1',
    'fe80::1',
    '::127.0.0.1',
    '::ffff:10.0.0.1',
    '::ffff:8000:1',
    '64:ff9b::127.0.0.1',
    '127.0.0.1.example.org',
    '127.evil.example',
    '127.0.0',
    '127.0.0.1:80',
    '[::1]',
    'localhost',
  ])
    assert.equal(isLoopback(address), false, address)
})

test('loopback: the address that a socket of both families tells is known', async (t) => {
  const server = createServer()
  t.after(() => server.close())
  const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).filter(({ internal }) => internal))
  const host = own.some(({ family }) => family === 'IPv6') ? '::' : '0.0.0.0'
  await new Promise<void>((resolve) => server.listen({ host, port: 0 }, resolve))
  const { port } = server.address() as { port: number }
  assert.ok(own.length > 0)
  for (const { address } of own) {
    const arrival = new Promise<Socket>((resolve) => server.once('connection', resolve))
    const socket = connect({ host: address, port })
    const { remoteAddress = '' } = await arrival
    assert.equal(isLoopback(remoteAddress), true, remoteAddress)
    socket.destroy()
  }
})
