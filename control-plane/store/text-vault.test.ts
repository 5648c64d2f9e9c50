import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { type TextPlace, TextVault } from './text-vault.ts'

const vault = new TextVault(randomBytes(32))
const place: TextPlace = { jobId: 'job_1', column: 'piece', sequence: 3 }

test('vault: what is sealed opens again, and shows nothing of itself', () => {
  for (const value of [{ text: 'hello', tokens: [1, 2] }, { text: '\ud800 \u0000 é 😀' }, [], null]) {
    const sealed = vault.seal(place, value)
    assert.deepEqual(vault.open(place, sealed), value)
    assert.ok(!sealed.includes('hello'))
    assert.ok(!vault.seal(place, value).equals(sealed)) // a nonce of its own each time
    assert.equal(sealed.length, 1 + 12 + Buffer.byteLength(JSON.stringify(value)) + 16)
    assert.equal(sealed[0], 1)
  }
})

test('vault: another secret, job, column or number opens nothing, nor does a changed or cut value', () => {
  const sealed = vault.seal(place, 'text')
  const others: TextPlace[] = [
    { ...place, jobId: 'job_2' },
    { ...place, column: 'answer' },
    { ...place, sequence: 4 },
    { jobId: 'job_1', column: 'piece' },
  ]
  for (const other of others) assert.equal(vault.open(other, sealed), undefined)
  assert.equal(new TextVault(randomBytes(32)).open(place, sealed), undefined)
  for (let index = 0; index < sealed.length; index++) {
    const changed = Buffer.from(sealed)
    changed[index] ^= 1
    assert.equal(vault.open(place, changed), undefined, `byte ${index}`)
    assert.equal(vault.open(place, sealed.subarray(0, index)), undefined, `length ${index}`)
  }
  assert.equal(vault.open(place, null), undefined)
  assert.throws(() => new TextVault(randomBytes(31)), /32 bytes/)
})

test('vault: more jobs than it keeps keys of', () => {
  const places = Array.from({ length: 200 }, (_, index): TextPlace => ({ jobId: `job_${index}`, column: 'asked' }))
  const sealed = places.map((one) => vault.seal(one, one.jobId))
  for (const [index, one] of places.entries()) assert.equal(vault.open(one, sealed[index]), one.jobId)
})
