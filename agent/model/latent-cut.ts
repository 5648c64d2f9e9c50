/**
 * How latent attention is cut: queries, keys, values and outputs by heads. The projections to the latents are whole on
 * every rank that holds heads, because their norms need the whole latent: a copy of a few percent of the layer is
 * cheaper than one more sum over all ranks.
 */
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { ModelPart } from '../../shared/schema/model.ts'
import type { LatentAttentionSpec, ModelSpec } from './architecture/model-spec.ts'
import {
  all,
  type MatrixPart,
  type MixerCut,
  type PlainPart,
  scaled,
  sliced,
  stacked,
  wholeVector,
} from './shard-pieces.ts'
import { headsOf } from './shard-ranges.ts'

/** Matrices of one layer in the order of use. */
export const latentMatrices = ({ spec, ranges, at }: MixerCut, mixer: LatentAttentionSpec): MatrixPart[] => {
  const { queryRank, kvRank, nopeDim, ropeDim, valueDim } = mixer
  const { heads } = headsOf(spec, ranges, mixer)
  if (sizeOf(heads) === 0) return []
  const whole = (part: string, rows: number): MatrixPart => {
    const name = `${at}.mla.${part}`
    return stacked(name, spec.hidden, [{ role: name, rows: all(rows) }])
  }
  const own = (part: string, rows: number, columns: number): MatrixPart => {
    const name = `${at}.mla.${part}`
    return stacked(name, columns, [{ role: name, rows: scaled(heads, rows) }])
  }
  return [
    ...(queryRank === undefined
      ? [own('q', nopeDim + ropeDim, spec.hidden)]
      : [whole('qa', queryRank), own('qb', nopeDim + ropeDim, queryRank)]),
    whole('kva', kvRank + ropeDim),
    own('kb', kvRank, nopeDim),
    own('vb', valueDim, kvRank),
    sliced(`${at}.mla.o`, spec.hidden, scaled(heads, valueDim)),
  ]
}

/** Norms of the latents. */
export const latentPlain = ({ spec, ranges, at }: MixerCut, mixer: LatentAttentionSpec): PlainPart[] => {
  const { queryRank, kvRank } = mixer
  if (sizeOf(headsOf(spec, ranges, mixer).heads) === 0) return []
  return [
    ...(queryRank === undefined ? [] : [wholeVector(`${at}.mla.qaNorm`, queryRank)]),
    wholeVector(`${at}.mla.kvaNorm`, kvRank),
  ]
}

/** Latent attention of one geometry, in the layers that have it. The cache is the latent, the same on every rank. */
export const latentPart = (
  { hidden }: ModelSpec,
  name: string,
  { heads, queryRank, kvRank, nopeDim, ropeDim, valueDim }: LatentAttentionSpec,
  count: number,
): ModelPart => {
  const query = { count, cut: 'rows', rows: nopeDim + ropeDim } as const
  return {
    name,
    units: heads,
    together: 1,
    matrices: [
      { ...query, columns: queryRank ?? hidden },
      { count, cut: 'rows', rows: kvRank, columns: nopeDim },
      { count, cut: 'rows', rows: valueDim, columns: kvRank },
      { count, cut: 'columns', rows: hidden, columns: valueDim },
    ],
    cache: 0,
    state: 0,
    // queries before and behind the latent, what is attended to twice, values
    activations: 4 * (nopeDim + 3 * kvRank + 2 * ropeDim + 2 * valueDim),
    copied: {
      matrices: [
        ...(queryRank === undefined ? [] : [{ count, cut: 'rows', rows: queryRank, columns: hidden } as const]),
        { count, cut: 'rows', rows: kvRank + ropeDim, columns: hidden },
      ],
      cache: count * (kvRank + ropeDim),
      activations: 4 * ((queryRank ?? 0) + kvRank + ropeDim),
    },
  }
}
