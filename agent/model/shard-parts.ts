/** Which rows and columns of which canonical tensors make up each tensor of a shard. */
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { AttentionSpec, ExpertsSpec, FeedForwardSpec, LayerSpec, ModelSpec } from './architecture/model-spec.ts'
import { layerSpec } from './architecture/model-spec.ts'
import type { RoleTensor, Roles } from './architecture/tensor-roles.ts'
import { deltaMatrices, deltaPlain } from './delta-cut.ts'
import { latentMatrices, latentPlain } from './latent-cut.ts'
import { columnsOf, headsOf, isFirst, normsProjection } from './shard-ranges.ts'
import {
  all,
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
import { copyColumns } from './tensor-slice.ts'

export type { MatrixPart, PlainPart }

interface LayerCut extends MixerCut {
  readonly layer: LayerSpec
}

/** Matrices one below the other in one tensor, as quantised ones are; or each in its own, in the type of its file. */
export type Fusing = 'fused' | 'separate'

const joined = (
  name: string,
  columns: number,
  parts: readonly { readonly name: string; readonly rows: Range }[],
  fusing: Fusing,
): MatrixPart[] =>
  fusing === 'fused'
    ? [
        stacked(
          name,
          columns,
          parts.map(({ name: role, rows }) => ({ role, rows })),
        ),
      ]
    : parts.map(({ name: role, rows }) => stacked(role, columns, [{ role, rows }]))

/** Rows of q, k and v that a rank with these heads has, and those of o's columns. */
const attentionRows = ({ spec, ranges }: LayerCut, mixer: AttentionSpec): Record<'q' | 'k' | 'v' | 'own', Range> => {
  const { heads, kvHeads } = headsOf(spec, ranges, mixer)
  const [own, v] = [scaled(heads, mixer.headDim), scaled(kvHeads, mixer.headDim)]
  return normsProjection(mixer) && sizeOf(heads) > 0
    ? { q: all(mixer.heads * mixer.headDim), k: all(mixer.kvHeads * mixer.headDim), v, own }
    : { q: own, k: v, v, own }
}

const attentionMatrices = (cut: LayerCut, mixer: AttentionSpec, fusing: Fusing): MatrixPart[] => {
  const { spec, at } = cut
  const name = `${at}.attention`
  const { q, k, v, own } = attentionRows(cut, mixer)
  const projections = [
    { name: `${name}.q`, rows: q },
    ...(mixer.kvFrom === undefined ? [{ name: `${name}.k`, rows: k }] : []),
    ...(mixer.kvFrom === undefined && !mixer.keyIsValue ? [{ name: `${name}.v`, rows: v }] : []),
  ]
  return [
    ...joined(`${name}.qkv`, spec.hidden, projections, fusing),
    ...(mixer.outputGate ? [stacked(`${name}.gate`, spec.hidden, [{ role: `${name}.gate`, rows: own }])] : []),
    sliced(`${name}.o`, spec.hidden, own),
  ]
}

const attentionPlain = (cut: LayerCut, mixer: AttentionSpec): PlainPart[] => {
  const { spec, ranges, at } = cut
  const { heads } = headsOf(spec, ranges, mixer)
  const name = `${at}.attention`
  const { q, k, v } = attentionRows(cut, mixer)
  const withKeys = mixer.kvFrom === undefined
  const biases = [
    { role: `${name}.q.bias`, rows: q },
    ...(withKeys ? [{ role: `${name}.k.bias`, rows: k }] : []),
    ...(withKeys && !mixer.keyIsValue ? [{ role: `${name}.v.bias`, rows: v }] : []),
  ]
  const qkNorm = mixer.qkNorm?.weight ? mixer.qkNorm : undefined
  return [
    ...(mixer.bias.qkv ? [vector(`${name}.qkv.bias`, biases)] : []),
    ...(mixer.bias.o && isFirst(heads) ? [wholeVector(`${name}.o.bias`, spec.hidden)] : []),
    ...(qkNorm
      ? [
          wholeVector(`${name}.qNorm`, qkNorm.over === 'head' ? mixer.headDim : sizeOf(q)),
          ...(withKeys ? [wholeVector(`${name}.kNorm`, qkNorm.over === 'head' ? mixer.headDim : sizeOf(k))] : []),
        ]
      : []),
    ...(mixer.sinks ? [vector(`${name}.sinks`, [{ role: `${name}.sinks`, rows: heads }])] : []),
  ]
}

/** Own rows of every expert of a stack, one expert behind another. */
const expertRows = ({ count, ffn }: ExpertsSpec, own: Range): Range[] =>
  Array.from({ length: count }, (_, expert) => ({ start: expert * ffn + own.start, end: expert * ffn + own.end }))

const mlpNames = ({ gated }: FeedForwardSpec): string[] => (gated ? ['gate', 'up'] : ['up'])

const mlpMatrices = (cut: LayerCut, fusing: Fusing): MatrixPart[] => {
  const { spec, ranges, at, layer } = cut
  const { dense, experts } = layer.feedForward
  const names = mlpNames(layer.feedForward)
  const whole = (name: string, width: number): MatrixPart[] => {
    const own = columnsOf(spec, ranges, width)
    const rows = names.map((part) => ({ name: `${name}.${part}`, rows: own }))
    return [
      ...joined(`${name}.${names.length > 1 ? 'gateUp' : 'up'}`, spec.hidden, rows, fusing),
      sliced(`${name}.down`, spec.hidden, own),
    ]
  }
  const own = experts && columnsOf(spec, ranges, experts.ffn)
  return [
    ...(dense ? whole(`${at}.mlp`, dense.ffn) : []),
    ...(experts && own
      ? [
          ...names.map((part) =>
            stacked(
              `${at}.mlp.experts.${part}`,
              spec.hidden,
              expertRows(experts, own).map((rows) => ({ role: `${at}.mlp.experts.${part}`, rows })),
            ),
          ),
          sliced(`${at}.mlp.experts.down`, experts.count * spec.hidden, own),
        ]
      : []),
    ...(experts?.shared ? whole(`${at}.mlp.shared`, experts.shared.ffn) : []),
  ]
}

/** Whole on every rank that holds a part of the experts: all must choose the same. */
const routerPlain = ({ hidden }: ModelSpec, mlp: string, experts: ExpertsSpec): PlainPart[] => {
  const name = `${mlp}.router`
  const { count } = experts
  return [
    { name, dims: [count, hidden], pieces: [{ role: name, rows: all(count) }] },
    ...(experts.routerBias ? [wholeVector(`${name}.bias`, count)] : []),
    ...(experts.choiceBias ? [wholeVector(`${name}.choiceBias`, count)] : []),
    ...(experts.perExpertScale ? [wholeVector(`${name}.expertScale`, count)] : []),
  ]
}

const expertsPlain = ({ spec, ranges, at, layer }: LayerCut, experts: ExpertsSpec): PlainPart[] => {
  const own = columnsOf(spec, ranges, experts.ffn)
  const name = `${at}.mlp`
  const { count, shared } = experts
  return [
    ...(sizeOf(own) > 0 ? routerPlain(spec, name, experts) : []),
    ...(experts.bias
      ? mlpNames(layer.feedForward).map((part) => ({
          name: `${name}.experts.${part}.bias`,
          dims: [count, sizeOf(own)],
          pieces: expertRows(experts, own).map((rows) => ({ role: `${name}.experts.${part}.bias`, rows })),
        }))
      : []),
    ...(experts.bias && isFirst(own)
      ? [
          {
            name: `${name}.experts.down.bias`,
            dims: [count, spec.hidden],
            pieces: [{ role: `${name}.experts.down.bias`, rows: all(count * spec.hidden) }],
          },
        ]
      : []),
    ...(shared?.gated
      ? [
          {
            name: `${name}.shared.scale`,
            dims: [1, spec.hidden],
            pieces: [{ role: `${name}.shared.scale`, rows: all(1) }],
          },
        ]
      : []),
  ]
}

const mlpPlain = (cut: LayerCut): PlainPart[] => {
  const { spec, ranges, at, layer } = cut
  const { dense, experts } = layer.feedForward
  const own = dense && columnsOf(spec, ranges, dense.ffn)
  const name = `${at}.mlp`
  return [
    ...(dense?.bias && own
      ? [
          ...mlpNames(layer.feedForward).map((part) =>
            vector(`${name}.${part}.bias`, [{ role: `${name}.${part}.bias`, rows: own }]),
          ),
          ...(isFirst(own) ? [wholeVector(`${name}.down.bias`, spec.hidden)] : []),
        ]
      : []),
    ...(experts ? expertsPlain(cut, experts) : []),
  ]
}

/** Norms around the halves of a layer. In a parallel block both halves have the one before attention. */
const blockNorms = ({ spec, at, layer }: LayerCut): PlainPart[] => {
  const before = layer.block !== 'post'
  const behind = layer.block === 'sandwich' || layer.block === 'post'
  const names = ['attention', 'mlp'].flatMap((half) => [
    ...(before && !(layer.block === 'parallel' && half === 'mlp') ? [`${at}.${half}.norm`] : []),
    ...(behind ? [`${at}.${half}.postNorm`] : []),
  ])
  return names.map((name) => wholeVector(name, spec.hidden))
}

const mixerMatrices = (cut: LayerCut, fusing: Fusing): MatrixPart[] => {
  const { mixer } = cut.layer
  if (mixer.kind === 'mla') return latentMatrices(cut, mixer)
  return mixer.kind === 'delta' ? deltaMatrices(cut, mixer) : attentionMatrices(cut, mixer, fusing)
}

const mixerPlain = (cut: LayerCut): PlainPart[] => {
  const { mixer } = cut.layer
  if (mixer.kind === 'mla') return latentPlain(cut, mixer)
  return mixer.kind === 'delta' ? deltaPlain(cut, mixer) : attentionPlain(cut, mixer)
}

const cutsOf = (spec: ModelSpec, ranges: RankRanges): LayerCut[] =>
  spec.layers.map((_, index) => ({ spec, ranges, layer: layerSpec(spec, index), at: `layers.${index}` }))

/** What stays f32, in the order of the file; what would be empty is left out. */
export const plainParts = (spec: ModelSpec, ranges: RankRanges): PlainPart[] =>
  [
    ...cutsOf(spec, ranges).flatMap((cut) => [...blockNorms(cut), ...mixerPlain(cut), ...mlpPlain(cut)]),
    wholeVector('head.norm', spec.hidden),
  ].filter(({ dims }) => dims.every((dim) => dim > 0))

/**
 * Columns that are stored before those of the rank where blocks of this width are those of the whole tensor: its first
 * column may lie in the middle of one.
 */
export const leadColumns = (firstColumn: number, block: number): number => firstColumn % block

/** Blocks of a row of the matrix. */
export const storedBlocks = (
  { firstColumn, columns }: Pick<MatrixPart, 'firstColumn' | 'columns'>,
  block: number,
): number => Math.ceil((leadColumns(firstColumn, block) + columns) / block)

/** Matrices of these ranges in the order of use; those that would be empty are left out. */
export const matrixParts = (spec: ModelSpec, ranges: RankRanges, fusing: Fusing = 'fused'): MatrixPart[] =>
  [
    ...cutsOf(spec, ranges).flatMap((cut) => [...mixerMatrices(cut, fusing), ...mlpMatrices(cut, fusing)]),
    stacked('head', spec.hidden, [{ role: 'head', rows: ranges.vocab }]),
  ].filter(({ rows, columns }) => rows > 0 && columns > 0)

/** Those of the MLP of one layer. @param ranges of which those of its columns count */
export const mlpParts = (spec: ModelSpec, ranges: RankRanges, layer: number): MatrixPart[] =>
  mlpMatrices({ spec, ranges, layer: layerSpec(spec, layer), at: `layers.${layer}` }, 'fused')

/** Rows of a matrix of the shard, and which of their columns are those of the shard. */
export interface PartRows {
  /** f32 [rows, columns] */
  readonly values: Float32Array
  readonly columns: number
  readonly kept: Range
}

/** The pieces that rows `start`..`end` - 1 of a part lie in: rows of their tensors, and how many come before. */
export function* piecesWithin(
  pieces: readonly Piece[],
  { start, end }: Range,
): Generator<{ readonly piece: Piece; readonly rows: Range; readonly before: number }> {
  let at = 0
  for (const piece of pieces) {
    const from = Math.max(start, at)
    const to = Math.min(end, at + sizeOf(piece.rows))
    if (from < to)
      yield {
        piece,
        rows: { start: piece.rows.start + from - at, end: piece.rows.start + to - at },
        before: from - start,
      }
    at += sizeOf(piece.rows)
  }
}

/** Elements read at once where only some columns of each row are kept. */
const readElements = 2 ** 21

/** f32 [rows, columns]: some columns of some rows. */
const readColumns = (tensor: RoleTensor, columns: Range, rows: Range): Float32Array => {
  const width = sizeOf(columns)
  const out = new Float32Array(sizeOf(rows) * width)
  const atOnce = Math.max(1, Math.floor(readElements / tensor.columns))
  for (let row = rows.start; row < rows.end; row += atOnce) {
    const last = Math.min(rows.end, row + atOnce)
    copyColumns(tensor.readRows(row, last), tensor.columns, columns, out.subarray((row - rows.start) * width))
  }
  return out
}

/** All of a part that stays f32. */
export const readPlain = (roles: Roles, { pieces }: PlainPart): Float32Array => {
  const rows = pieces.map((piece) => roles.role(piece.role).readRows(piece.rows.start, piece.rows.end))
  const values = new Float32Array(rows.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const row of rows) {
    values.set(row, at)
    at += row.length
  }
  return values
}

/** Rows `start`..`end` - 1 of a matrix of the shard, with all columns of the blocks that its own lie in. */
export const readPart = (roles: Roles, part: MatrixPart, range: Range, block = 1): PartRows => {
  const lead = leadColumns(part.firstColumn, block)
  const kept = { start: lead, end: lead + part.columns }
  const [{ role: first, columns: own }] = part.pieces
  const whole = own && {
    start: own.start - lead,
    end: Math.min(own.start - lead + storedBlocks(part, block) * block, roles.role(first).columns),
  }
  const columns = whole ? sizeOf(whole) : part.columns
  const values = new Float32Array(sizeOf(range) * columns)
  for (const { piece, rows, before } of piecesWithin(part.pieces, range)) {
    const tensor = roles.role(piece.role)
    values.set(whole ? readColumns(tensor, whole, rows) : tensor.readRows(rows.start, rows.end), before * columns)
  }
  return { values, columns, kept }
}
