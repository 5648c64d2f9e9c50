/** Models of every part that the engine computes, against a plain oracle, however they are cut. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { weightBytes } from '../../shared/plan/shard-memory.ts'
import { heldWeights, planShards, weightsOf } from '../../shared/plan/shard-plan.ts'
import type { ModelSpec } from '../model/architecture/model-spec.ts'
import { shapeOf } from '../model/model-shape.ts'
import { layoutShard } from '../model/shard-layout.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { oracleLogits } from './test/parts-oracle.ts'
import { randomRoles } from './test/random-roles.ts'
import { relativeError } from './test/reference-model.ts'
import { openPartsRing } from './test/ring-of-parts.ts'
import { specs } from './test/specs.ts'

/** Largest error of a logit, as a part of the largest logit. */
const bound = 2e-4
const worlds = [[1], [1, 1], [3, 1, 2], [1, 5, 1, 1]] as const

/** A prompt in two lanes, then two tokens one by one. */
const chunks = [40, 1, 1]

const worstError = async (spec: ModelSpec, shares: readonly number[]): Promise<number> => {
  const create = inlineBackends.ggml
  assert.ok(create)
  const folder = mkdtempSync(join(tmpdir(), 'mesh-parts-'))
  const roles = randomRoles(spec)
  const ring = await openPartsRing({
    spec,
    shape: shapeOf(spec),
    roles,
    shares,
    quant: 'f32',
    folder,
    create,
    laneRows: 33,
  })
  try {
    const tokens = Array.from({ length: chunks.reduce((a, b) => a + b) }, (_, i) => (i * 31 + 5) % spec.vocab)
    const want = oracleLogits({ spec, roles }, tokens)
    let worst = 0
    let position = 0
    for (const count of chunks) {
      const got = await ring.step([
        { slot: 1, position, tokens: tokens.slice(position, position + count), logits: 'all' },
      ])
      for (const [row, logits] of got.entries()) worst = Math.max(worst, relativeError(logits, want[position + row]))
      position += count
    }
    return worst
  } finally {
    await ring.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

for (const [name, spec] of Object.entries(specs))
  test(`ggml: ${name}: as the oracle in worlds of one to four`, { skip: !inlineBackends.ggml }, async () => {
    for (const shares of worlds) {
      const error = await worstError(spec, shares)
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
        assert.equal(matrices / 4, held[rank], `${name}, rank ${rank} of ${shares.length}: matrices`)
        assert.ok(planned >= bytes, `${name}, rank ${rank} of ${shares.length}: ${planned} for ${bytes}`)
      }
    }
  }
})
