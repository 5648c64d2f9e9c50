import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeCbor, encodeCbor } from '../wire/envelope.ts'
import { Type } from 'typebox'
import { newControlPlaneKey } from './control-plane-key.ts'
import { exportControlPlaneKey, exportKey, importControlPlaneKey, importKey } from './key-export.ts'
import { newKeyPair, toHex } from './keys.ts'

const key = newKeyPair()
const passphrase = 'correct horse battery'
const line = exportKey({ key, name: 'home' }, passphrase)
const bytes = Buffer.from(line.slice('mesh-pool-key:'.length), 'base64url')
const lineOf = (content: Uint8Array): string => `mesh-pool-key:${Buffer.from(content).toString('base64url')}`

test('key export: the key comes back with its name, the passphrase typed on another keyboard too', () => {
  const back = importKey(` ${line}\n`, passphrase)
  assert.deepEqual(
    [toHex(back.key.seed), toHex(back.key.publicKey), back.name],
    [toHex(key.seed), toHex(key.publicKey), 'home'],
  )
  const umlaut = exportKey({ key, name: 'home' }, 'gr\u00fcne Wiese hier')
  assert.equal(importKey(umlaut, 'gru\u0308ne Wiese hier').name, 'home')
})

test('key export: neither key nor passphrase can be read in it, and no two are alike', () => {
  assert.ok(!bytes.includes(Buffer.from(key.seed)) && !bytes.includes('home') && !bytes.includes(passphrase))
  assert.notEqual(exportKey({ key, name: 'home' }, passphrase), line)
})

test('key export: a wrong passphrase and a changed byte are refused', () => {
  assert.throws(() => importKey(line, 'correct horse batterz'), { code: 'passphraseWrong' })
  for (const at of [bytes.length - 1, bytes.length - 40, 10, 30]) {
    const changed = Buffer.from(bytes)
    changed[at] ^= 1
    assert.throws(
      () => importKey(lineOf(changed), passphrase),
      (error: { code?: string }) => ['passphraseWrong', 'keyExportInvalid'].includes(error.code ?? ''),
      `byte ${at}`,
    )
  }
})

test('key export: a short passphrase is refused before anything is written', () => {
  assert.throws(() => exportKey({ key, name: 'home' }, 'short'), { code: 'usage', message: /10 characters/ })
})

const fields = decodeCbor(Type.Any(), bytes) as unknown[]
for (const [name, text, problem] of [
  ['nothing', '', /begin/],
  ['half of it', line.slice(0, 60), /missing/],
  ['a file that asks for a terabyte', lineOf(encodeCbor([1, 30, ...fields.slice(2)])), /memory/],
  ['a version of the future', lineOf(encodeCbor([2, ...fields.slice(1)])), /version 2/],
  ['a nonce of another size', lineOf(encodeCbor([1, 17, fields[2], Buffer.alloc(4), fields[4]])), /damaged/],
] as const) {
  test(`key export: refused: ${name}`, () =>
    assert.throws(() => importKey(text, passphrase), { code: 'keyExportInvalid', message: problem }))
}

test('key export: the key of a control plane comes back, and neither file is taken for the other', () => {
  const own = newControlPlaneKey()
  const text = exportControlPlaneKey(own, passphrase)
  const back = importControlPlaneKey(`${text}\n`, passphrase)
  assert.deepEqual([back.id, back.secretFor('x')], [own.id, own.secretFor('x')])
  assert.throws(() => importControlPlaneKey(text, 'correct horse batterz'), { code: 'passphraseWrong' })
  assert.throws(() => importKey(text, passphrase), {
    code: 'keyExportInvalid',
    message: /does not begin with mesh-pool-key:/,
  })
  for (const other of [line, text.slice(0, -8), line.replace('mesh-pool-key:', 'mesh-control-plane-key:')])
    assert.throws(() => importControlPlaneKey(other, passphrase), { code: 'keyExportInvalid' })
})
