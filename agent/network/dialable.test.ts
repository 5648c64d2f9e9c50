import assert from 'node:assert/strict'
import { test } from 'node:test'
import { multiaddr } from '@multiformats/multiaddr'
import { dialableAddresses, isRelayed, listenedOn } from './dialable.ts'
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

test('dialable: an address leads over a relay when a part of it says so, as text or not', () => {
  const relay = '12D3KooWNvSZnPi3RrhrTwEY4LuuBeB6K6facKUCJcyWG1aoDd2p'
  const cases: readonly [string, boolean][] = [
    [`/ip4/10.0.0.3/tcp/4001/p2p/${relay}/p2p-circuit`, true],
    [`/ip4/10.0.0.3/tcp/4001/p2p/${relay}/p2p-circuit/p2p/${relay}`, true],
    [`/ip4/10.0.0.3/tcp/4001/p2p/${relay}`, false],
    ['/dns4/p2p-circuit.example/tcp/4001', false],
  ]
  for (const [address, isOver] of cases) {
    assert.equal(isRelayed(address), isOver, address)
    assert.equal(isRelayed(multiaddr(address)), isOver, address)
  }
  assert.equal(isRelayed('/dns4/a/p2p-circuit-not/tcp/1'), false)
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
