/** Models of every part that the engine computes, against a plain oracle, however they are cut. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { weightBytes } from '../../shared/plan/shard-memory.ts'
import { heldWeights, planShards, storedWeights, weightsOf } from '../../shared/plan/shard-plan.ts'
import { randomRoles } from '../model/architecture/random-checkpoint.ts'
import { oracleLogits } from '../model/architecture/test/oracle.ts'
import { shapeOf } from '../model/model-shape.ts'
import { layoutShard } from '../model/shard-layout.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { specs } from './test/specs.ts'
import { tokensOf, worstError } from './test/worst-error.ts'

/** Largest error of a logit, as a part of the largest logit. */
const bound = 2e-4
const worlds = [[1], [1, 1], [3, 1, 2], [1, 5, 1, 1]] as const

/** A prompt in two lanes, then two tokens one by one. */
const chunks = [40, 1, 1]

for (const [name, spec] of Object.entries(specs))
  test(`ggml: ${name}: as the oracle in worlds of one to four`, { skip: !inlineBackends.ggml }, async () => {
    const roles = randomRoles(spec, 1)
    const want = oracleLogits(spec, roles, tokensOf(spec, chunks))
    for (const shares of worlds) {
      const error = await worstError({ spec, roles, quant: 'f32', shares, chunks }, want)
      assert.ok(error < bound, `shares ${shares.join(' ')}: relative error ${error}`)
    }
  })

test('the plan counts for every part no less than its shard takes, and not much more', () => {
  for (const [name, spec] of Object.entries(specs)) {
    const shape = shapeOf(spec)
    for (const shares of worlds) {
      const plan = planShards(shape, shares)
      const held = plan.map((ranges) => heldWeights(shape, ranges))
      assert.equal(
        held.reduce((a, b) => a + b),
        weightsOf(shape),
        name,
      )
      for (const [rank, ranges] of plan.entries()) {
        const { bytes, tensors } = layoutShard({ spec, ranges, quant: 'f32' })
        const planned = weightBytes(shape, 'f32', ranges)
        const matrices = tensors
          .filter(([file]) => file.endsWith('.w'))
          .reduce((sum, [, { length }]) => sum + length, 0)
        assert.equal(matrices / 4, storedWeights(shape, ranges), `${name}, rank ${rank} of ${shares.length}: matrices`)
        assert.ok(planned >= bytes, `${name}, rank ${rank} of ${shares.length}: ${planned} for ${bytes}`)
      }
    }
  }
})
