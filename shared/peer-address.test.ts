import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ipOf, isRelayed, withoutPeerId } from './peer-address.ts'

test('peer address: the IP address is what stands first, and a name is none', () => {
  for (const [address, ip] of [
    ['/ip4/192.168.1.5/tcp/4001', '192.168.1.5'],
    ['/ip6/fd00::1/tcp/4001/p2p/Peer', 'fd00::1'],
    ['/ip4/192.168.1.5', '192.168.1.5'],
    ['/dns4/desk.local/tcp/4001', ''],
    ['/p2p/Relay/p2p-circuit/ip4/1.2.3.4', ''],
    ['/ip5/192.168.1.5/tcp/1', ''],
    ['', ''],
  ])
    assert.equal(ipOf(address), ip, address)
})

test('peer address: without the peer id at its end, and no other', () => {
  for (const [address, bare] of [
    ['/ip4/10.0.0.1/tcp/1/p2p/Peer', '/ip4/10.0.0.1/tcp/1'],
    ['/ip4/10.0.0.1/tcp/1', '/ip4/10.0.0.1/tcp/1'],
    ['/ip4/10.0.0.1/tcp/1/p2p/Relay/p2p-circuit', '/ip4/10.0.0.1/tcp/1/p2p/Relay/p2p-circuit'],
    ['/ip4/10.0.0.1/tcp/1/p2p/Relay/p2p-circuit/p2p/Peer', '/ip4/10.0.0.1/tcp/1/p2p/Relay/p2p-circuit'],
  ])
    assert.equal(withoutPeerId(address), bare)
})

test('peer address: one leads over a relay when a part of it says so, as text or not', () => {
  const relay = '12D3KooWNvSZnPi3RrhrTwEY4LuuBeB6K6facKUCJcyWG1aoDd2p'
  const cases: readonly [string, boolean][] = [
    [`/ip4/10.0.0.3/tcp/4001/p2p/${relay}/p2p-circuit`, true],
    [`/ip4/10.0.0.3/tcp/4001/p2p/${relay}/p2p-circuit/p2p/${relay}`, true],
    [`/ip4/10.0.0.3/tcp/4001/p2p/${relay}`, false],
    ['/dns4/p2p-circuit.example/tcp/4001', false],
  ]
  for (const [address, isOver] of cases) {
    assert.equal(isRelayed(address), isOver, address)
    assert.equal(isRelayed({ toString: () => address }), isOver, address)
  }
  assert.equal(isRelayed('/dns4/a/p2p-circuit-not/tcp/1'), false)
})
