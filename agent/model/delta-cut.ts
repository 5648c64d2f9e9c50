/**
 * How a gated delta net is cut: by key heads, each with the value heads that use it. Everything of a head lies on one
 * rank, its state too, so that the sum behind the output projection is the only one. Ranks keep the order of heads that
 * the tensors have: grouped (value heads of one key head together) or tiled (those of key head 0 come every `keyHeads`
 * heads), where own value heads are one range in each tile.
 */
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { ModelPart } from '../../shared/schema/model.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { DeltaSpec, ModelSpec } from './architecture/model-spec.ts'
import {
  type MatrixPart,
  type MixerCut,
  type Piece,
  type PlainPart,
  scaled,
  sliced,
  stacked,
  vector,
  wholeVector,
} from './shard-pieces.ts'
import { further } from './shard-ranges.ts'

/** Name of the dimension that heads of that geometry are cut by. */
export const deltaCut = ({ keyHeads, valueHeads, keyDim, valueDim }: DeltaSpec): string =>
  `delta ${keyHeads}x${valueHeads}x${keyDim}x${valueDim}`

/** Own key heads. */
export const keyHeadsOf = (ranges: RankRanges, mixer: DeltaSpec): Range => further(ranges, deltaCut(mixer))

/** Value heads of one key head. */
export const valuesPerKey = ({ keyHeads, valueHeads }: DeltaSpec): number => valueHeads / keyHeads

/** Own value heads: one range, or one in each tile; tiles that are held whole lie one behind another. */
const valueRanges = (mixer: DeltaSpec, own: Range): Range[] =>
  mixer.valueOrder === 'grouped' || sizeOf(own) === mixer.keyHeads
    ? [scaled(own, valuesPerKey(mixer))]
    : Array.from({ length: valuesPerKey(mixer) }, (_, tile) => ({
        start: tile * mixer.keyHeads + own.start,
        end: tile * mixer.keyHeads + own.end,
      }))

/** Names of the output projections of own value heads: one for each range. */
export const outputNames = (at: string, mixer: DeltaSpec, own: Range): string[] => {
  const ranges = valueRanges(mixer, own)
  return ranges.map((_, tile) => (ranges.length === 1 ? `${at}.delta.o` : `${at}.delta.o.${tile}`))
}

/** Channels of the convolution: own q heads, k heads, value heads. */
const channels = (role: string, mixer: DeltaSpec, own: Range): Piece[] => {
  const { keyHeads, keyDim, valueDim } = mixer
  const behind = (range: Range, before: number): Range => ({ start: before + range.start, end: before + range.end })
  const keys = keyHeads * keyDim
  return [
    { role, rows: scaled(own, keyDim) },
    { role, rows: behind(scaled(own, keyDim), keys) },
    ...valueRanges(mixer, own).map((range) => ({ role, rows: behind(scaled(range, valueDim), 2 * keys) })),
  ]
}

/** Matrices of one layer in the order of use. */
export const deltaMatrices = ({ spec, ranges, at }: MixerCut, mixer: DeltaSpec): MatrixPart[] => {
  const own = keyHeadsOf(ranges, mixer)
  if (sizeOf(own) === 0) return []
  const name = `${at}.delta`
  const values = valueRanges(mixer, own).map((range) => scaled(range, mixer.valueDim))
  return [
    stacked(`${name}.qkv`, spec.hidden, channels(`${name}.qkv`, mixer, own)),
    stacked(
      `${name}.z`,
      spec.hidden,
      values.map((rows) => ({ role: `${name}.z`, rows })),
    ),
    ...outputNames(at, mixer, own).map((part, index) => ({
      ...sliced(`${name}.o`, spec.hidden, values[index]),
      name: part,
    })),
  ]
}

/** What decides how much is kept and taken stays f32: a few rows, and every later position depends on them. */
export const deltaPlain = ({ spec, ranges, at }: MixerCut, mixer: DeltaSpec): PlainPart[] => {
  const own = keyHeadsOf(ranges, mixer)
  if (sizeOf(own) === 0) return []
  const name = `${at}.delta`
  const heads = valueRanges(mixer, own)
  const ownHeads = sizeOf(own) * valuesPerKey(mixer)
  const pieces = (role: string): Piece[] => heads.map((rows) => ({ role, rows }))
  const convolution = channels(`${name}.convolution`, mixer, own)
  return [
    ...['b', 'a'].map((part) => ({
      name: `${name}.${part}`,
      dims: [ownHeads, spec.hidden],
      pieces: pieces(`${name}.${part}`),
    })),
    {
      name: `${name}.convolution`,
      dims: [convolution.reduce((sum, { rows }) => sum + sizeOf(rows), 0), mixer.convolution],
      pieces: convolution,
    },
    vector(`${name}.dtBias`, pieces(`${name}.dtBias`)),
    vector(`${name}.decay`, pieces(`${name}.decay`)),
    wholeVector(`${name}.norm`, mixer.valueDim),
  ]
}

/** Values of the convolution and of the heads that one key head leaves behind a sequence, in one layer. */
export const stateOf = (mixer: DeltaSpec): { readonly convolution: number; readonly heads: number } => ({
  convolution: (mixer.convolution - 1) * (2 * mixer.keyDim + valuesPerKey(mixer) * mixer.valueDim),
  heads: valuesPerKey(mixer) * mixer.keyDim * mixer.valueDim,
})

/** Delta nets of one geometry, in the layers that have it. The unit is a key head. */
export const deltaPart = ({ hidden }: ModelSpec, mixer: DeltaSpec, count: number): ModelPart => {
  const { keyHeads, keyDim, valueDim, convolution } = mixer
  const values = valuesPerKey(mixer) * valueDim
  const rows = 2 * keyDim + values
  const outputs = mixer.valueOrder === 'tiled' ? valuesPerKey(mixer) : 1
  const state = stateOf(mixer)
  return {
    name: deltaCut(mixer),
    units: keyHeads,
    together: 1,
    matrices: [
      { count, cut: 'rows', rows, columns: hidden },
      { count, cut: 'rows', rows: values, columns: hidden },
      { count: count * outputs, cut: 'columns', rows: hidden, columns: values / outputs },
    ],
    cache: 0,
    // while a layer runs, what it makes of the state lies beside it
    state: count * (state.convolution + state.heads) + state.convolution + state.heads,
    // channels before, in and behind the convolution; queries and keys twice; gates, results
    activations: 4 * rows + 4 * keyDim * (1 + valuesPerKey(mixer)) + 5 * values,
    plain: count * (rows * convolution + valuesPerKey(mixer) * (2 * hidden + 2)),
  }
}
