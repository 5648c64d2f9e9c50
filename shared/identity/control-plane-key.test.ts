import assert from 'node:assert/strict'
import { createHash, createPublicKey, hkdfSync } from 'node:crypto'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import {
  controlPlaneIdOf,
  controlPlaneKeyText,
  loadControlPlaneKey,
  newControlPlaneKey,
  ownControlPlaneKey,
  parseControlPlaneKey,
  saveControlPlaneKey,
} from './control-plane-key.ts'

const folder = mkdtempSync(join(tmpdir(), 'mesh-control-plane-key-'))
after(() => rmSync(folder, { recursive: true }))
const fileNamed = (name: string): string => join(folder, name)

/** RFC 9500, section 2.3: the test key of P-256. */
const rfcKey = `-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIObLW92AqkWunJXowVR2Z5/+yVPBaFHnEedDk5WJxk/BoAoGCCqGSM49
AwEHoUQDQgAEQiVI+I+3gv+17KN0RFLHKh5Vj71vc75eSOkyMsxFxbFsTNEMTLjV
uKFxOelIgsiZJXKZNCX0FBmrfpCkKklCcg==
-----END EC PRIVATE KEY-----
`

test('a key is made once, private to its owner, and found again', () => {
  const file = fileNamed('made/control-plane.key')
  const made = ownControlPlaneKey(file)
  assert.match(made.id, /^[0-9a-f]{64}$/)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.equal(ownControlPlaneKey(file).id, made.id)
  assert.equal(loadControlPlaneKey(file)?.id, made.id)
  assert.equal(loadControlPlaneKey(fileNamed('none.key')), undefined)
  assert.notEqual(newControlPlaneKey().id, made.id)
})

test('an open file becomes private when a key is stored over it', () => {
  const file = fileNamed('open.key')
  writeFileSync(file, 'old', { mode: 0o644 })
  saveControlPlaneKey(file, newControlPlaneKey())
  assert.equal(statSync(file).mode & 0o777, 0o600)
})

test('the id is the SHA-256 of the public key in DER', () => {
  const key = parseControlPlaneKey(rfcKey)
  assert.ok(key)
  const der = createPublicKey(rfcKey).export({ type: 'spki', format: 'der' })
  assert.equal(key.id, createHash('sha256').update(der).digest('hex'))
  assert.equal(controlPlaneIdOf(key.publicKey), key.id)
  assert.equal(parseControlPlaneKey(controlPlaneKeyText(key))?.id, key.id)
})

test('secrets follow from key and purpose', () => {
  const key = parseControlPlaneKey(rfcKey)
  assert.ok(key)
  const scalar = Buffer.from('e6cb5bdd80aa45ae9c95e8c15476679ffec953c16851e711e743939589c64fc1', 'hex')
  const wanted = Buffer.from(
    hkdfSync('sha256', scalar, Buffer.alloc(0), Buffer.from('meshnet-control-plane-v1 texts'), 32),
  )
  assert.deepEqual(key.secretFor('texts'), wanted)
  assert.notDeepEqual(key.secretFor('texts 2'), wanted)
  assert.notDeepEqual(newControlPlaneKey().secretFor('texts'), wanted)
})

test('a damaged file is refused by name, and not replaced', () => {
  const file = fileNamed('damaged.key')
  const p384 =
    '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n'
  const cut = controlPlaneKeyText(newControlPlaneKey()).slice(0, 90)
  for (const text of ['', 'not a key', cut, p384]) {
    writeFileSync(file, text)
    for (const read of [loadControlPlaneKey, ownControlPlaneKey]) {
      assert.throws(() => read(file), { code: 'controlPlaneKeyUnreadable', fields: { file } })
    }
  }
})
