import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import type { RingEpoch } from '../../shared/schema/ring.ts'
import { limits } from '../../shared/limits.ts'
import { helloOf, isFinal, ringProtocol } from './ring-hello.ts'

test('ring hello: a rank says which ring, epoch and place it means', () => {
  const ring = { poolId: 'p', ringId: 'r', epoch: 7, members: [{}, {}, {}] } as unknown as RingEpoch
  assert.deepEqual(helloOf(ring, 2), { poolId: 'p', ringId: 'r', epoch: 7, rank: 2, worldSize: 3 })
})

test('ring hello: an epoch that the other side has left is over; one that it has yet to load is tried again', () => {
  const stale = (want: number): MeshError => new MeshError('epochStale', { got: 5, want })
  assert.deepEqual(
    [4, 5, 6].map((want) => isFinal(stale(want), 5)),
    [false, false, true],
  )
})

test('ring hello: what a gate refuses stays refused; what was lost, late or not ours to say is tried again', () => {
  const final = [
    new MeshError('gateRefused', { peer: 'x', problem: 'y' }),
    new MeshError('memberRemoved', { deviceId: 'x', poolId: 'y' }),
    new MeshError('notMember', { deviceId: 'x', poolId: 'y' }),
    new MeshError('poolUnknown', { poolId: 'y' }),
    new MeshError('certificateInvalid', { problem: 'y' }),
    new MeshError('certificateExpired', { notAfter: 1 }),
    new MeshError('protocolVersion'),
  ]
  assert.deepEqual(
    final.map((error) => isFinal(error, 1)),
    final.map(() => true),
  )
  const passing = [
    new MeshError('peerUnreachable', { peer: 'x', problem: 'y' }),
    new Error('gateRefused'),
    'gateRefused',
    undefined,
  ]
  assert.deepEqual(
    passing.map((error) => isFinal(error, 1)),
    passing.map(() => false),
  )
})

test('ring hello: one device may have streams of four rings of the largest size', () => {
  assert.equal(ringProtocol.streamsAtOnce, 4 * limits.worldSize)
  assert.match(ringProtocol.id, /^\/meshnet\/ring\//)
})
