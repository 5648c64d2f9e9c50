/** A tiny model of each family, computed by ranks of unequal shares, against the float64 oracle of families. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { notComputed } from '../model/architecture/computed.ts'
import { type Checkpoint, checkpointOf } from '../model/architecture/random-checkpoint.ts'
import { oracleLogits } from '../model/architecture/test/oracle.ts'
import { tinyFamilies } from '../model/architecture/test/tiny-models.ts'
import type { RoleTensor } from '../model/architecture/tensor-roles.ts'
import { shapeOf } from '../model/model-shape.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { relativeError } from './test/reference-model.ts'
import { openPartsRing } from './test/ring-of-parts.ts'

/** Largest error of a logit, as a part of the largest logit. */
const bound = 2e-3
const worlds = [[1], [2, 1], [1, 3, 1], [1, 1, 1, 2]] as const
/** A prompt in two lanes, beyond every window and first context, then two tokens one by one. */
const chunks = [70, 1, 1]
const count = chunks.reduce((a, b) => a + b)

const worstError = async (
  { spec, roles }: Checkpoint,
  shares: readonly number[],
  want: readonly ArrayLike<number>[],
): Promise<number> => {
  const create = inlineBackends.ggml
  assert.ok(create)
  const folder = mkdtempSync(join(tmpdir(), 'mesh-families-'))
  const role = (name: string): RoleTensor => roles.get(name === 'head' && spec.tied ? 'embedding' : name) as RoleTensor
  const ring = await openPartsRing({
    spec,
    shape: shapeOf(spec),
    roles: { role },
    shares,
    quant: 'f32',
    folder,
    create,
    laneRows: 33,
  })
  try {
    let worst = 0
    let position = 0
    for (const rows of chunks) {
      const tokens = tokensOf(spec.vocab).slice(position, position + rows)
      const got = await ring.step([{ slot: 1, position, tokens, logits: 'all' }])
      for (const [row, logits] of got.entries()) worst = Math.max(worst, relativeError(logits, want[position + row]))
      position += rows
    }
    return worst
  } finally {
    await ring.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

const tokensOf = (vocab: number): number[] => Array.from({ length: count }, (_, i) => (i * 31 + 5) % vocab)

for (const tiny of tinyFamilies) {
  const checkpoint = checkpointOf(tiny)
  const { spec, roles } = checkpoint
  if (notComputed(spec) !== undefined) continue
  test(`ggml: ${tiny.name}: as the oracle in worlds of one to four`, { skip: !inlineBackends.ggml }, async () => {
    const want = oracleLogits(spec, roles, tokensOf(spec.vocab))
    for (const shares of worlds) {
      const error = await worstError(checkpoint, shares, want)
      assert.ok(error < bound, `shares ${shares.join(' ')}: relative error ${error}`)
    }
  })
}
