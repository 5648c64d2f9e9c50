/** What of a model or of a cut these graphs do not compute: refused by name before any native call. */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { AttentionSpec, LayerSpec, ModelSpec } from '../../model/architecture/model-spec.ts'
import { columnsOf, headsOf, widthsOf } from '../../model/shard-ranges.ts'
import type { BackendOptions } from '../backend.ts'
import { blockColumns } from './blocks.ts'

const attentionProblem = ({ qkNorm, kvFrom, temperature, rope }: AttentionSpec, layers: number): string | undefined => {
  if (qkNorm?.over === 'projection') return 'a norm of queries and keys over the whole projection'
  if (qkNorm?.kind === 'layer') return 'a layer norm of queries and keys'
  if (kvFrom !== undefined && !(kvFrom >= 0 && kvFrom < layers)) return `keys and values of layer ${kvFrom}`
  if (temperature) return 'a temperature of queries by position'
  if (rope?.at === 'tail') return 'a rotation at the end of the head'
  return undefined
}

const layerProblem = ({ mixer, feedForward }: LayerSpec, layers: number): string | undefined => {
  const { experts, dense, activation, gated } = feedForward
  if (mixer.kind === 'mla') return 'multi-head latent attention'
  if (mixer.kind === 'delta') return 'gated delta layers'
  if (typeof activation === 'object' && !gated) return 'a clamped GLU without a gate'
  if (experts?.weightOnInput) return 'experts whose weight multiplies their input'
  if (dense && experts) return 'an MLP beside experts in one layer'
  return attentionProblem(mixer, layers)
}

/** A part of the model that is not computed here. */
export const unsupportedPart = ({ kinds, layers }: Pick<ModelSpec, 'kinds' | 'layers'>): string | undefined =>
  kinds.map((kind) => layerProblem(kind, layers.length)).find((problem) => problem !== undefined)

/** Widths of matrices, and where cut ones begin: of quantised matrices that have to be whole blocks. */
const blockProblem = ({ spec, ranges }: BackendOptions): string | undefined => {
  const heads = spec.kinds.flatMap(({ mixer }) =>
    mixer.kind === 'attention' ? [{ range: headsOf(spec, ranges, mixer).heads, width: mixer.headDim }] : [],
  )
  const columns = widthsOf(spec).map((width) => ({ range: columnsOf(spec, ranges, width), width: 1 }))
  const cuts = [...heads, ...columns]
  const odd = [spec.hidden, ...cuts.map(({ range, width }) => sizeOf(range) * width)].find(
    (size) => size % blockColumns !== 0,
  )
  if (odd !== undefined) return `a matrix is ${odd} columns wide, quantised ones must be multiples of ${blockColumns}`
  const first = cuts
    .filter(({ range }) => sizeOf(range) > 0)
    .map(({ range, width }) => range.start * width)
    .find((column) => column % blockColumns !== 0)
  return first === undefined
    ? undefined
    : `this rank's part of a matrix begins at column ${first}, in the middle of a block of ${blockColumns}`
}

/** Why ggml cannot run this shard; `undefined` when it can. */
export const unsupported = (options: BackendOptions): string | undefined => {
  const part = unsupportedPart(options.spec)
  if (part !== undefined) return `${part} cannot be computed yet (${options.spec.family})`
  return options.quant === 'f32' ? undefined : blockProblem(options)
}
