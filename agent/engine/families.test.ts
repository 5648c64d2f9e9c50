/** A tiny model of each family, computed by ranks of unequal shares, against the float64 oracle of families. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { notComputed } from '../model/architecture/computed.ts'
import { checkpointOf } from '../model/architecture/random-checkpoint.ts'
import { oracleLogits } from '../model/architecture/test/oracle.ts'
import { tinyFamilies } from '../model/architecture/test/tiny-models.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { tokensOf, worstError } from './test/worst-error.ts'

/** Largest error of a logit, as a part of the largest logit. */
const bound = 2e-3
const worlds = [[1], [2, 1], [1, 3, 1], [1, 1, 1, 2]] as const
/** A prompt in two lanes, beyond every window and first context, then two tokens one by one. */
const chunks = [70, 1, 1]

for (const tiny of tinyFamilies) {
  const { spec, roles } = checkpointOf(tiny)
  if (notComputed(spec) !== undefined) continue
  test(`ggml: ${tiny.name}: as the oracle in worlds of one to four`, { skip: !inlineBackends.ggml }, async () => {
    const want = oracleLogits(spec, roles, tokensOf(spec, chunks))
    for (const shares of worlds) {
      const error = await worstError({ spec, roles, quant: 'f32', shares, chunks }, want)
      assert.ok(error < bound, `shares ${shares.join(' ')}: relative error ${error}`)
    }
  })
}
