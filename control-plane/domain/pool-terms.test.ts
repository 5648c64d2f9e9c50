import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { signCharter } from '../../shared/identity/pool-charter.ts'
import { termsOf } from './pool-terms.ts'

const root = newKeyPair()
const rootPublicKey = toHex(root.publicKey)
const charter = signCharter(root, { adminsReadText: true })
const foreign = signCharter(newKeyPair(), { adminsReadText: true })

test('pool terms: what a pool was made to be is in its charter; one that does not hold, or none, lets nobody in', () => {
  assert.deepEqual(termsOf({ charter, rootPublicKey }), { adminsReadText: true })
  for (const pool of [undefined, { charter: null, rootPublicKey }, { charter: foreign, rootPublicKey }])
    assert.equal(termsOf(pool).adminsReadText, false)
})
