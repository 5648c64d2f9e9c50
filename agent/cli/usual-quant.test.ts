import assert from 'node:assert/strict'
import { test } from 'node:test'
import { usualQuant } from './usual-quant.ts'

test('quant: weights of a GGUF file keep their bits where nobody says otherwise', () => {
  assert.equal(usualQuant('/models/m-Q4_K_M.gguf', 'q8'), 'file')
  assert.equal(usualQuant('/models/folder', 'q8'), 'q8')
  assert.equal(usualQuant(undefined, 'q4'), 'q4')
})
