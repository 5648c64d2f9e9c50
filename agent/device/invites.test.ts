import assert from 'node:assert/strict'
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type Home, openHome } from '../../shared/home.ts'
import { decodeInvite, inviteProof } from '../../shared/identity/invite.ts'
import { newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { poolIdOf } from '../../shared/identity/pool-certificate.ts'
import type { InviteProof } from '../../shared/schema/pool.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { makeInvite, standingInvite, takeInvite } from './invites.ts'
import type { LocalPool } from './pools.ts'
import { reachableUrls } from './reachable-urls.ts'

const now = 1_800_000_000_000
const [first, second, third] = ['a', 'b', 'c'].map((digit) => digit.repeat(64))
const root = newKeyPair()
const pool: LocalPool = {
  poolId: poolIdOf(root.publicKey),
  name: 'home',
  rootPublicKey: toHex(root.publicKey),
  role: 'admin',
  certificate: 'x',
  rootKey: root,
}

const made = (
  t: TestContext,
  uses: number,
): {
  home: Home
  take(deviceId: string, at?: number, proof?: string): unknown
  proofOf(deviceId: string): InviteProof
} => {
  const home = openHome(temporaryFolder(t))
  const { inviteId, secret, poolId } = decodeInvite(
    makeInvite(home, pool, { role: 'member', uses, notAfter: now + 1000, urls: [] }),
  )
  const proofOf = (deviceId: string): InviteProof => ({
    inviteId,
    proof: inviteProof(secret, { poolId, inviteId, deviceId }),
  })
  return {
    home,
    proofOf,
    take: (deviceId, at = now, proof = proofOf(deviceId).proof) =>
      takeInvite(home, pool.poolId, { inviteId, proof }, { deviceId, now: at }),
  }
}

test('invites: as many devices as it says, the same one as often as it asks', (t) => {
  const { take } = made(t, 2)
  assert.equal(take(first), 'member')
  assert.equal(take(first), 'member')
  assert.equal(take(second), 'member')
  assert.throws(() => take(third), { code: 'inviteUsed' })
  assert.equal(take(second), 'member')
})

test('invites: not after its time, not with the proof of another device, not with an invented one', (t) => {
  const { take, proofOf } = made(t, 5)
  assert.throws(() => take(first, now + 1000), { code: 'inviteExpired' })
  assert.throws(() => take(first, now, proofOf(second).proof), { code: 'inviteInvalid' })
  assert.throws(() => take(first, now, '0'.repeat(64)), { code: 'inviteInvalid' })
  assert.equal(take(first), 'member', 'what was refused took no use')
})

test('invites: one of another admin is not ours to answer; secrets are for the owner alone', (t) => {
  const { home } = made(t, 1)
  assert.equal(
    takeInvite(home, pool.poolId, { inviteId: '0'.repeat(16), proof: '0'.repeat(64) }, { deviceId: first, now }),
    undefined,
  )
  const folder = home.pool(pool.poolId).invites
  const [file] = readdirSync(folder)
  assert.equal(statSync(join(folder, file)).mode & 0o777, 0o600)
})

test('invites: a standing one is given out again while devices can come in by it, under its own name alone', (t) => {
  const home = openHome(temporaryFolder(t))
  const terms = { role: 'member', uses: 2, notAfter: now + 7_200_000, urls: ['http://a'], now } as const
  const given = standingInvite(home, pool, 'mesh up', terms)
  const again = standingInvite(home, pool, 'mesh up', { ...terms, notAfter: now + 9_000_000, urls: ['https://b'] })
  assert.deepEqual([given.usesLeft, again.usesLeft, again.notAfter], [2, 2, given.notAfter])
  const [one, other] = [decodeInvite(given.line), decodeInvite(again.line)]
  assert.deepEqual([other.inviteId, other.secret, other.urls], [one.inviteId, one.secret, ['https://b']])
  assert.notEqual(decodeInvite(standingInvite(home, pool, 'else', terms).line).inviteId, one.inviteId)
  assert.notEqual(decodeInvite(makeInvite(home, pool, terms)).inviteId, one.inviteId)

  const take = (deviceId: string): unknown =>
    takeInvite(
      home,
      pool.poolId,
      {
        inviteId: one.inviteId,
        proof: inviteProof(one.secret, { poolId: one.poolId, inviteId: one.inviteId, deviceId }),
      },
      { deviceId, now },
    )
  assert.equal(take(first), 'member')
  assert.equal(standingInvite(home, pool, 'mesh up', terms).usesLeft, 1)
  assert.equal(take(second), 'member')
  const next = standingInvite(home, pool, 'mesh up', terms)
  assert.deepEqual([next.usesLeft, decodeInvite(next.line).inviteId === one.inviteId], [2, false], 'used up: a new one')
  const late = standingInvite(home, pool, 'mesh up', { ...terms, now: now + 4_000_000, notAfter: now + 20_000_000 })
  assert.equal(late.notAfter, now + 20_000_000, 'nearly over: a new one')
  writeFileSync(join(home.pool(pool.poolId).invites, `${'0'.repeat(16)}.json`), '{"damaged"')
  assert.equal(standingInvite(home, pool, 'mesh up', { ...terms, now: now + 4_000_000 }).line, late.line)
})

test('invites: an address that means this machine is told as others see it', () => {
  assert.deepEqual(reachableUrls('http://127.0.0.1:8080', ['192.168.1.20', '10.0.0.5']), [
    'https://192.168.1.20:8080',
    'https://10.0.0.5:8080',
    'http://127.0.0.1:8080',
  ])
  assert.deepEqual(reachableUrls('https://mesh.example.org', ['192.168.1.20']), ['https://mesh.example.org'])
})
