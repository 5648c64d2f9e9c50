import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../shared/limits.ts'
import { adminView, checkJoinRoom, checkPoolKey, type OpenRequest, requestView } from './join-request.ts'

const invite = { inviteId: 'i', proof: 'p' } as unknown as OpenRequest['invite']
const waits: OpenRequest = { poolId: 'p', deviceId: 'd', name: 'Desk', createdAt: 5, invite, denied: null }
const denied: OpenRequest = { ...waits, invite: null, denied: { code: 'inviteInvalid', message: 'used up' } }
const common = { poolId: 'p', deviceId: 'd', name: 'Desk', createdAt: 5 }

test('join request: shown to who asked without the invite, to admins with it', () => {
  assert.deepEqual(requestView(waits), { ...common, status: 'pending' })
  assert.deepEqual(adminView(waits), { ...common, status: 'pending', invite })
})

test('join request: a denied one tells why; without an invite there is none to show', () => {
  const shown = { ...common, status: 'denied', error: denied.denied }
  assert.deepEqual([requestView(denied), adminView(denied)], [shown, shown])
})

test('join request: the device must mean the key of the pool', () => {
  checkPoolKey({ poolId: 'p', rootPublicKey: 'aa' }, 'aa')
  assert.throws(() => checkPoolKey({ poolId: 'p', rootPublicKey: 'aa' }, 'ab'), { code: 'poolKeyMismatch' })
})

test('join request: a full list takes no other device, and those on it again', () => {
  checkJoinRoom(false, limits.joinRequests - 1)
  checkJoinRoom(true, limits.joinRequests)
  assert.throws(() => checkJoinRoom(false, limits.joinRequests), {
    code: 'overloaded',
    fields: { what: 'the list of join requests of this pool', limit: limits.joinRequests },
  })
})
