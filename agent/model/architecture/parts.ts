/** Parts of layers from keys that most families share; a row says what is different in its own. */
import { caps, type ConfigValues } from './config-values.ts'
import type { AttentionSpec, ExpertsSpec, FeedForwardSpec, MaskSpec, RopeSpec } from './model-spec.ts'
import { readRope, type RopeWanted } from './rope-config.ts'
import { ropeFrequencies } from './rope-frequencies.ts'

export type LayerKind = 'full_attention' | 'sliding_attention' | 'linear_attention'

/** Kind of a layer: from `layer_types`, or as the family has it. */
export const layerKind = (
  values: ConfigValues,
  layer: number,
  usual: (layer: number) => LayerKind,
  allowed: readonly LayerKind[] = ['full_attention', 'sliding_attention'],
): LayerKind => {
  if (!values.has('layer_types')) return usual(layer)
  const isKind = (value: unknown): value is LayerKind => allowed.some((kind) => kind === value)
  return values.list('layer_types', values.layers, isKind, allowed.join(' or '))[layer]
}

/** A window as long as the context hides nothing. */
export const maskOf = (values: ConfigValues, kind: LayerKind): MaskSpec => {
  if (kind === 'full_attention') return { kind: 'full' }
  const window = values.size('sliding_window', caps.context)
  return window >= values.context ? { kind: 'full' } : { kind: 'window', window }
}

/** Of a key that sets a window in every layer, or in none where it is null. */
export const windowEverywhere = (values: ConfigValues): MaskSpec =>
  maskOf(values, values.has('sliding_window') ? 'sliding_attention' : 'full_attention')

export const headDimOf = (values: ConfigValues): number => {
  const heads = values.size('num_attention_heads', caps.heads)
  const said = values.optional('head_dim', (key) => values.size(key, caps.headDim))
  const headDim = said ?? values.hidden / heads
  if (Number.isInteger(headDim) && headDim % 2 === 0) return headDim
  return values.refuse(said === undefined ? 'hidden_size' : 'head_dim', `the head size is ${headDim}, it must be even`)
}

/** RMSNorm over all of q, and all of k. */
export const projectionNorm: AttentionSpec['qkNorm'] = {
  over: 'projection',
  kind: 'rms',
  weight: true,
  when: 'beforeRope',
}

export const ropeOf = (values: ConfigValues, wanted: RopeWanted, pairing: RopeSpec['pairing'] = 'half'): RopeSpec => {
  const { theta, scaling, dims: span } = readRope(values, wanted)
  return { ...ropeFrequencies(scaling, theta, span), span, pairing, at: 'head' }
}

interface AttentionParts {
  readonly bias?: AttentionSpec['bias']
  readonly qkNorm?: AttentionSpec['qkNorm']
  readonly mask?: MaskSpec
  /** False: none. */
  readonly rope?: Omit<RopeWanted, 'headDim'> | false
  readonly pairing?: RopeSpec['pairing']
  /** Default: headDim^-1/2. */
  readonly scale?: number
  readonly extra?: Partial<AttentionSpec>
}

export const attention = (values: ConfigValues, parts: AttentionParts = {}): AttentionSpec => {
  const heads = values.size('num_attention_heads', caps.heads)
  const kvHeads = values.optional('num_key_value_heads', (key) => values.size(key, caps.heads)) ?? heads
  if (heads % kvHeads !== 0)
    return values.refuse('num_attention_heads', `${heads} heads are no multiple of ${kvHeads} key/value heads`)
  const headDim = headDimOf(values)
  const rope = parts.rope === false ? undefined : ropeOf(values, { headDim, ...parts.rope }, parts.pairing)
  return {
    kind: 'attention',
    heads,
    kvHeads,
    headDim,
    scale: parts.scale ?? headDim ** -0.5,
    bias: parts.bias ?? { qkv: false, o: false },
    ...(parts.qkNorm && { qkNorm: parts.qkNorm }),
    mask: parts.mask ?? { kind: 'full' },
    ...(rope && { rope }),
    ...parts.extra,
  }
}

/** RMSNorm of each head of q and k, before they turn. */
export const headNorm: AttentionSpec['qkNorm'] = { over: 'head', kind: 'rms', weight: true, when: 'beforeRope' }

const activations = { silu: 'silu', gelu_pytorch_tanh: 'geluTanh' } as const

/** Activation of the gate, under whichever of the keys it stands. */
export const activationOf = (values: ConfigValues, key = 'hidden_act'): FeedForwardSpec['activation'] =>
  activations[values.oneOf(key, ['silu', 'gelu_pytorch_tanh'])]

export const dense = (
  values: ConfigValues,
  parts: { bias?: boolean; activation?: FeedForwardSpec['activation'] } = {},
): FeedForwardSpec => ({
  activation: parts.activation ?? activationOf(values),
  gated: true,
  dense: { ffn: values.size('intermediate_size', caps.ffn), bias: parts.bias ?? false },
})

/** Experts with the usual keys; `ffn` names that of their columns. */
export const experts = (
  values: ConfigValues,
  keys: { readonly count: string; readonly used?: string; readonly ffn: string },
  parts: Partial<ExpertsSpec> = {},
): ExpertsSpec => {
  const count = values.size(keys.count, caps.experts)
  return {
    count,
    used: values.size(keys.used ?? 'num_experts_per_tok', count),
    ffn: values.size(keys.ffn, caps.ffn),
    score: 'softmax',
    routerBias: false,
    choiceBias: false,
    factor: 1,
    bias: false,
    ...parts,
  }
}

/** "Weights are divided by their sum": no family adds more than a guard against 0. */
export const bySum = { epsilon: 0 } as const
