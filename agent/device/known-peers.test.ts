import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
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

test('peer cache: only what changed is written', (t) => {
  const home = homeOf(t)
  /** Whether it was written since the last look. */
  const wrote = (change: () => void): boolean => {
    rmSync(home.knownPeers, { force: true })
    change()
    cache.save()
    return existsSync(home.knownPeers)
  }
  let cache = new PeerCache(home)
  assert.ok(!wrote(() => undefined), 'nothing is known')
  assert.ok(wrote(() => cache.saw(sighting(1))))
  assert.ok(!wrote(() => undefined), 'it was written')
  assert.ok(wrote(() => void (cache.listenPort = 4100)) && !wrote(() => void (cache.listenPort = 4100)))
  const [one, two] = ['http://10.0.0.1:8080', 'http://10.0.0.2:8080']
  assert.ok(wrote(() => cache.rememberControlPlane(one)) && !wrote(() => cache.rememberControlPlane(one)))
  assert.ok(wrote(() => cache.rememberControlPlane(two)))
  assert.ok(wrote(() => cache.name(poolId, id(1), 'Desktop')) && !wrote(() => cache.name(poolId, id(1), 'Desktop')))
  assert.equal(cache.peersOf(poolId)[0].name, 'Desktop')
  assert.ok(!wrote(() => cache.name(poolId, id(2), 'Never seen')))
  assert.ok(!wrote(() => cache.keepPools([poolId])))
  assert.ok(wrote(() => cache.keepPools([])))
  writeFileSync(home.knownPeers, 'damaged')
  cache = new PeerCache(home)
  cache.save()
  assert.deepEqual(readKnownPeers(home).peers, [], 'a damaged file is written anew')
})

test('peer cache: news is another address, another way in which it was found, a first latency', (t) => {
  const cache = new PeerCache(homeOf(t))
  const isNews = (more: Partial<Sighting>): boolean => cache.saw(sighting(1, more))
  assert.ok(isNews({}))
  assert.ok(isNews({ found: 'cache' }) && !isNews({ found: 'cache' }))
  assert.ok(isNews({ found: 'cache', latencyMs: 3 }) && !isNews({ found: 'cache', latencyMs: 5 }))
  assert.ok(isNews({ found: 'cache', latencyMs: 5, address: '/ip4/10.9.9.9/tcp/1' }))
  // over a relay nothing was dialled: what worked before stays
  const worked = cache.peersOf(poolId)[0].worked
  assert.equal(worked.length, 1)
  isNews({ dialable: undefined, at: 9000 })
  assert.deepEqual(cache.peersOf(poolId)[0].worked, worked)
})
