import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../shared/limits.ts'
import { checkRemoval, checkRingLimit, decideJoin, type Served } from './ring-joining.ts'

const shape = { layers: 2, hidden: 64, heads: 8, kvHeads: 4, headDim: 8, ffn: 704, vocab: 2048, context: 2048 }
const model = { modelId: 'tiny', revision: 'a'.repeat(64), weightBytes: 1000, shape }
const ring: Served = { model, quant: 'q8' }
const otherFiles: Served = { ...ring, model: { ...model, revision: 'b'.repeat(64) } }
const otherQuant: Served = { ...ring, quant: 'q4' }
const otherShape: Served = { ...ring, model: { ...model, shape: { ...shape, layers: 3 } } }

const table: readonly [name: string, there: Served | undefined, own: Served, isTaken: boolean, want: string][] = [
  ['the first of a model', undefined, ring, false, 'define'],
  ['the same files', ring, structuredClone(ring), true, 'join'],
  ['the same files alone', ring, structuredClone(ring), false, 'join'],
  ['other files where nobody else serves', ring, otherFiles, false, 'define'],
  ['another quantisation where nobody else serves', ring, otherQuant, false, 'define'],
]
for (const [name, there, own, isTaken, want] of table)
  test(`ring joining: ${name}`, () => assert.equal(decideJoin(there, own, isTaken), want))

test('ring joining: others keep their files and quantisation, and what differs is named', () => {
  assert.throws(() => decideJoin(ring, otherFiles, true), {
    code: 'modelMismatch',
    fields: { modelId: 'tiny', got: 'b'.repeat(12), want: 'a'.repeat(12) },
  })
  assert.throws(() => decideJoin(ring, otherQuant, true), {
    code: 'quantMismatch',
    fields: { modelId: 'tiny', got: 'q4', want: 'q8' },
  })
  for (const isTaken of [false, true])
    assert.throws(() => decideJoin(ring, otherShape, isTaken), { code: 'requestInvalid', message: /shape of tiny/ })
})

test('ring joining: a device serves in so many rings of a pool', () => {
  checkRingLimit(true, limits.ringsOfDevice - 1)
  checkRingLimit(false, limits.ringsOfDevice)
  assert.throws(() => checkRingLimit(true, limits.ringsOfDevice), {
    code: 'ringLimit',
    fields: { limit: limits.ringsOfDevice },
  })
})

test('ring removal: by an admin, or by the only one who serves', () => {
  const [own, others] = [[{ deviceId: 'd' }], [{ deviceId: 'd' }, { deviceId: 'e' }]]
  checkRemoval('p', { deviceId: 'd', isAdmin: true }, others)
  checkRemoval('p', { deviceId: 'd', isAdmin: false }, own)
  checkRemoval('p', { deviceId: 'd', isAdmin: false }, [])
  assert.throws(() => checkRemoval('p', { deviceId: 'd', isAdmin: false }, others), { code: 'notAdmin' })
  assert.throws(() => checkRemoval('p', { deviceId: 'e', isAdmin: false }, own), { code: 'notAdmin' })
})
