import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type Home, openHome } from '../../shared/home.ts'
import { PeerCache, readKnownPeers, type Sighting } from './known-peers.ts'

const homeOf = (t: TestContext): Home => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-test-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return openHome(folder)
}

const poolId = 'a'.repeat(64)
const id = (index: number): string => index.toString(16).padStart(64, '0')
const sighting = (index: number, more: Partial<Sighting> = {}): Sighting => ({
  poolId,
  deviceId: id(index),
  address: `/ip4/10.0.0.${index % 250}/tcp/4100`,
  found: 'mdns',
  dialable: `/ip4/10.0.0.${index % 250}/tcp/4100`,
  at: 1000 + index,
  ...more,
})

test('peer cache: what worked is there after a restart, newest first', (t) => {
  const home = homeOf(t)
  const cache = new PeerCache(home)
  cache.name(poolId, id(1), 'Desktop')
  assert.equal(cache.saw(sighting(1)), true)
  assert.equal(cache.saw(sighting(1, { at: 2000 })), false, 'the same again is no news')
  assert.equal(
    cache.saw(
      sighting(1, { at: 3000, address: '/ip4/10.1.0.1/tcp/4100', dialable: '/ip4/10.1.0.1/tcp/4100', latencyMs: 2 }),
    ),
    true,
  )
  cache.rememberControlPlane('http://10.0.0.1:8080')
  cache.rememberControlPlane('http://10.1.0.1:8080')
  cache.listenPort = 4100
  cache.save()
  const again = new PeerCache(home)
  assert.deepEqual(again.peersOf(poolId), [
    {
      poolId,
      deviceId: id(1),
      name: 'Desktop',
      address: '/ip4/10.1.0.1/tcp/4100',
      found: 'mdns',
      latencyMs: 2,
      lastSeenAt: 3000,
      worked: [
        { address: '/ip4/10.1.0.1/tcp/4100', at: 3000 },
        { address: '/ip4/10.0.0.1/tcp/4100', at: 2000 },
      ],
    },
  ])
  assert.deepEqual([again.controlPlanes, again.listenPort], [['http://10.1.0.1:8080', 'http://10.0.0.1:8080'], 4100])
})

test('peer cache: it is bounded; who was not seen for longest goes first', (t) => {
  const home = homeOf(t)
  const cache = new PeerCache(home)
  for (let index = 0; index < 300; index++) cache.saw(sighting(index))
  for (let network = 0; network < 20; network++)
    cache.saw(sighting(299, { at: 5000 + network, dialable: `/ip4/10.${network}.0.1/tcp/1` }))
  cache.save()
  const { peers } = readKnownPeers(home)
  assert.equal(peers.length, 256)
  assert.ok(!peers.some(({ deviceId }) => deviceId === id(43)) && peers.some(({ deviceId }) => deviceId === id(44)))
  assert.equal(peers[0].worked.length, 8)
  assert.equal(peers[0].worked[0].address, '/ip4/10.19.0.1/tcp/1')
})

test('peer cache: a pool that was left is forgotten, and a damaged file is as good as none', (t) => {
  const home = homeOf(t)
  const cache = new PeerCache(home)
  cache.saw(sighting(1))
  cache.keepPools([])
  cache.save()
  assert.deepEqual(readKnownPeers(home).peers, [])
  writeFileSync(home.knownPeers, '{"peers": 3}')
  assert.throws(() => readKnownPeers(home), { code: 'stateUnreadable' })
  assert.deepEqual(new PeerCache(home).peersOf(poolId), [])
})
