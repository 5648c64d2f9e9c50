import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dialableAddresses, listenedOn } from './dialable.ts'
import { isInside } from '../device/interfaces.ts'

const own = ['/ip4/127.0.0.1/tcp/1/p2p/Me', '/ip4/10.0.0.1/tcp/1/p2p/Me']

test('dialable: loopback addresses only of a peer on this machine, relayed ones never', () => {
  assert.deepEqual(
    dialableAddresses(
      ['/ip4/127.0.0.1/tcp/2', '/ip4/10.0.0.2/tcp/2/p2p/Peer', '/ip4/10.0.0.3/tcp/4001/p2p/Relay/p2p-circuit'],
      own,
    ),
    ['/ip4/10.0.0.2/tcp/2'],
  )
  assert.deepEqual(dialableAddresses(['/ip4/127.0.0.1/tcp/2', '/ip4/10.0.0.1/tcp/2'], own), [
    '/ip4/127.0.0.1/tcp/2',
    '/ip4/10.0.0.1/tcp/2',
  ])
  assert.deepEqual(dialableAddresses(['/ip4/127.0.0.1/tcp/2'], own), ['/ip4/127.0.0.1/tcp/2'])
  assert.deepEqual(dialableAddresses(['/ip6/::ffff:127.0.0.1/tcp/2', '/ip6/::1/tcp/2', '/ip4/10.0.0.2/tcp/2'], own), [
    '/ip4/10.0.0.2/tcp/2',
  ])
})

test('dialable: a peer that dialled us is dialled where it listens on the same host', () => {
  assert.equal(
    listenedOn('/ip4/10.0.0.2/tcp/50000', ['/ip4/127.0.0.1/tcp/4100', '/ip4/10.0.0.2/tcp/4100/p2p/Peer']),
    '/ip4/10.0.0.2/tcp/4100',
  )
  assert.equal(listenedOn('/ip4/10.0.0.9/tcp/50000', ['/ip4/10.0.0.2/tcp/4100']), undefined)
})

test('networks: a host is inside by prefix length, IPv4 and IPv6', () => {
  const networks = [
    { address: '192.168.1.5', cidr: '192.168.1.5/24' },
    { address: 'fd00::2', cidr: 'fd00::2/64' },
    { address: '10.0.0.1', cidr: null },
  ]
  assert.deepEqual(
    ['192.168.1.77', '192.168.2.77', 'fd00::9', 'fd01::9', '10.0.0.1', 'nonsense'].map((host) =>
      isInside(host, networks),
    ),
    [true, false, true, false, false, false],
  )
})
