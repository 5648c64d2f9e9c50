/** How far a ring over canonical tensors is from the oracle. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Quant } from '../../../shared/schema/model.ts'
import type { ModelSpec } from '../../model/architecture/model-spec.ts'
import type { Roles, RoleTensor } from '../../model/architecture/tensor-roles.ts'
import { shapeOf } from '../../model/model-shape.ts'
import { inlineBackends } from './inline-backend.ts'
import { relativeError } from './reference-model.ts'
import { openPartsRing } from './ring-of-parts.ts'

export interface Compared {
  readonly spec: ModelSpec
  readonly roles: ReadonlyMap<string, RoleTensor>
  readonly quant: Quant
  readonly shares: readonly number[]
  /** Tokens of each step, one behind another. */
  readonly chunks: readonly number[]
}

/** The tokens that all steps together read. */
export const tokensOf = ({ vocab }: Pick<ModelSpec, 'vocab'>, chunks: readonly number[]): number[] =>
  Array.from({ length: chunks.reduce((a, b) => a + b) }, (_, i) => (i * 31 + 5) % vocab)

/** Those of a map; a tied model has no head of its own. */
export const rolesIn = (roles: ReadonlyMap<string, RoleTensor>, { tied }: Pick<ModelSpec, 'tied'>): Roles => ({
  role: (name) => {
    const found = roles.get(name === 'head' && tied ? 'embedding' : name)
    if (!found) throw new Error(`no tensor ${name}`)
    return found
  },
})

/**
 * @param want the oracle's logits of every position of `tokensOf`
 * @returns the largest error of a logit, as a part of the largest logit
 */
export const worstError = async (
  { spec, roles, quant, shares, chunks }: Compared,
  want: readonly ArrayLike<number>[],
): Promise<number> => {
  const create = inlineBackends.ggml
  assert.ok(create)
  const folder = mkdtempSync(join(tmpdir(), 'mesh-parts-'))
  const ring = await openPartsRing({
    spec,
    shape: shapeOf(spec),
    roles: rolesIn(roles, spec),
    shares,
    quant,
    folder,
    create,
    laneRows: 33,
  })
  try {
    const all = tokensOf(spec, chunks)
    let worst = 0
    let position = 0
    for (const [index, count] of chunks.entries()) {
      const tokens = all.slice(position, position + count)
      const planned = all.length
      const sequences = [{ slot: 1, position, tokens, planned, logits: 'all' as const }]
      // with the last tokens comes the start of another sequence
      const isLast = index === chunks.length - 1
      if (isLast) sequences.push({ slot: 2, position: 0, tokens: all.slice(0, 5), planned, logits: 'all' })
      const got = await ring.step(sequences)
      for (const [row, logits] of got.entries()) {
        const at = row < count ? position + row : row - count
        worst = Math.max(worst, relativeError(logits, want[at]))
      }
      position += count
    }
    return worst
  } finally {
    await ring.close()
    rmSync(folder, { recursive: true, force: true })
  }
}
