import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { poolIdOf } from '../../shared/identity/pool-certificate.ts'
import { signCharter } from '../../shared/identity/pool-charter.ts'
import { checkFounder, checkPool } from './pool-founding.ts'

const root = newKeyPair()
const poolId = poolIdOf(root.publicKey)
const rootPublicKey = toHex(root.publicKey)
const charter = signCharter(root, { adminsReadText: true })
const foreign = signCharter(newKeyPair(), { adminsReadText: true })

test('pool: id and charter are those of its root key', () => {
  checkPool({ poolId, rootPublicKey })
  checkPool({ poolId, rootPublicKey, charter })
  const other = poolIdOf(newKeyPair().publicKey)
  assert.throws(() => checkPool({ poolId: other, rootPublicKey, charter }), {
    code: 'poolKeyMismatch',
    fields: { poolId: other },
  })
  assert.throws(() => checkPool({ poolId, rootPublicKey, charter: foreign }), { code: 'charterInvalid' })
})

test('pool: an admin publishes it', () => {
  checkFounder({ poolId, role: 'admin' })
  assert.throws(() => checkFounder({ poolId, role: 'member' }), { code: 'notAdmin' })
})
