import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PeerId } from '@libp2p/interface'
import { limits } from '../../shared/limits.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { peerIdOf } from './peer-id.ts'
import { type Candidate, hoped, missed, PoolCandidates, reached } from './pool-candidates.ts'

const [poolId, other] = ['a'.repeat(64), 'b'.repeat(64)]
const newPeer = (): PeerId => peerIdOf(deviceIdOf(newKeyPair()))
const all = (): boolean => true

/** So many devices of the pool that can be dialled. */
const withDevices = (candidates: PoolCandidates, count: number, isMember: boolean): Candidate[] =>
  Array.from({ length: count }, (_, index) => {
    const candidate = candidates.take(poolId, newPeer())
    assert.ok(candidate)
    candidate.addresses.add(`/ip4/10.0.0.${index}/tcp/1`, 'cache')
    candidate.isMember = isMember
    return candidate
  })

test('candidates: a device is one of each of its pools, and a member where it was said to be', () => {
  const candidates = new PoolCandidates()
  const peer = newPeer()
  assert.equal(candidates.find(poolId, peer), undefined)
  const one = candidates.take(poolId, peer)
  assert.ok(one)
  assert.equal(candidates.take(poolId, peer), one)
  assert.equal(candidates.find(poolId, peer), one)
  assert.notEqual(candidates.take(other, peer), one)
  assert.deepEqual(candidates.members(), [])
  assert.equal(candidates.isMember([poolId, other], peer.toString()), false)
  one.isMember = true
  assert.deepEqual(candidates.members(), [one])
  assert.deepEqual(
    [[poolId], [other], [other, poolId], []].map((pools) => candidates.isMember(pools, peer.toString())),
    [true, false, true, false],
  )
  assert.equal(candidates.isMember([poolId], newPeer().toString()), false)
})

test('candidates: eight are dialled at once, four of them announced ones, members first', () => {
  const candidates = new PoolCandidates()
  const announced = withDevices(candidates, 10, false)
  assert.deepEqual(candidates.due(0, all), announced.slice(0, 4))
  const members = withDevices(candidates, 6, true)
  assert.deepEqual(candidates.due(0, all), [...members, ...announced.slice(0, 2)])
  for (const one of [...members.slice(0, 2), ...announced.slice(0, 3)]) one.busy = true
  // five are dialled: three places are left, one for those that were announced
  assert.deepEqual(candidates.due(0, all), members.slice(2, 5))
  for (const one of members) one.busy = false
  members.forEach((one) => missed(one, 0, false))
  assert.deepEqual(candidates.due(0, all), [announced[3]])
  for (const one of announced) one.busy = true
  assert.deepEqual(candidates.due(0, all), [])
})

test('candidates: due are those that are wanted, have an address and whose pause is over', () => {
  const candidates = new PoolCandidates()
  const [one, two] = withDevices(candidates, 2, true)
  candidates.take(poolId, newPeer()) // names no address
  assert.deepEqual(
    candidates.due(0, (candidate) => candidate !== one),
    [two],
  )
  two.notBefore = 100
  assert.deepEqual(candidates.due(99, all), [one])
  assert.deepEqual(candidates.due(100, all), [one, two])
  two.busy = true
  assert.deepEqual(candidates.due(100, all), [one])
})

test('candidates: pauses double with each miss, five minutes after a refusal; news makes one no longer', () => {
  const [one] = withDevices(new PoolCandidates(), 1, true)
  const pauses = [1, 2, 3].map((time) => {
    missed(one, time, false)
    return one.notBefore - time
  })
  assert.deepEqual(pauses, [1000, 2000, 4000])
  missed(one, 10, true)
  assert.equal(one.notBefore, 10 + 300_000)
  hoped(one, 20)
  assert.equal(one.notBefore, 20 + 16_000)
  hoped(one, 5000)
  assert.equal(one.notBefore, 20 + 16_000, 'and never longer')
  reached(one)
  assert.equal(one.notBefore, 0)
  missed(one, 0, false)
  assert.equal(one.notBefore, 1000)
})

test('candidates: on another network all are tried anew', () => {
  const candidates = new PoolCandidates()
  const some = withDevices(candidates, 3, true)
  for (const one of some) for (const isRefusal of [false, true]) missed(one, 0, isRefusal)
  assert.deepEqual(candidates.due(1000, all), [])
  candidates.startAnew()
  assert.deepEqual(candidates.due(1000, all), some)
  missed(some[0], 0, false)
  assert.equal(some[0].notBefore, 1000)
})

test('candidates: of many the one announced first makes room, never a member or one that is being dialled', () => {
  const candidates = new PoolCandidates()
  const most = 4 * limits.worldSize
  const some = withDevices(candidates, most, true)
  assert.equal(candidates.take(poolId, newPeer()), undefined)
  assert.equal(candidates.take(poolId, some[0].peer), some[0])
  some[5].isMember = some[9].isMember = some[7].isMember = false
  some[5].busy = true
  const peer = newPeer()
  const late = candidates.take(poolId, peer)
  assert.ok(late)
  assert.equal(candidates.find(poolId, some[7].peer), undefined)
  assert.equal(candidates.find(poolId, some[5].peer), some[5])
  assert.equal(candidates.find(poolId, peer), late)
  late.isMember = some[9].isMember = true
  assert.equal(candidates.take(poolId, newPeer()), undefined)
})
