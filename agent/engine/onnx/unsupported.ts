/** What of a spec the graphs for ONNX Runtime compute: the parts of a Llama. The others are for ggml alone. */
import type { AttentionSpec, LayerSpec, MixerSpec, ModelSpec, RopeSpec } from '../../model/architecture/model-spec.ts'

const ropeProblem = (rope: RopeSpec | undefined, headDim: number): string | undefined => {
  if (!rope) return 'layers that do not tell positions apart'
  if (rope.long) return 'longrope'
  if (rope.magnitude !== 1) return 'rope with a magnitude (yarn)'
  if (rope.span !== headDim) return 'rope of a part of the head'
  return rope.pairing === 'half' ? undefined : 'rope of interleaved pairs'
}

const attentionProblem = (mixer: AttentionSpec): string | undefined => {
  if (mixer.bias.qkv || mixer.bias.o) return 'biases of attention'
  if (mixer.mask.kind !== 'full') return 'a window of attention'
  if (Math.abs(mixer.scale * Math.sqrt(mixer.headDim) - 1) > 1e-9) return 'a scale of attention of its own'
  const extra = (
    ['qkNorm', 'valueNorm', 'keyIsValue', 'kvFrom', 'outputGate', 'sinks', 'softcap', 'temperature'] as const
  ).find((part) => mixer[part] !== undefined)
  return extra === undefined ? ropeProblem(mixer.rope, mixer.headDim) : `${extra} of attention`
}

const mixerProblem = (mixer: MixerSpec): string | undefined =>
  mixer.kind === 'attention' ? attentionProblem(mixer) : `${mixer.kind} in place of attention`

const layerProblem = ({ block, mixer, feedForward, branchScale }: LayerSpec): string | undefined => {
  if (block !== 'pre' || (branchScale ?? 1) !== 1) return `${block} blocks`
  if (feedForward.experts || !feedForward.dense) return 'experts'
  if (feedForward.dense.bias) return 'biases of the MLP'
  if (feedForward.activation !== 'silu' || !feedForward.gated) return 'an activation other than silu'
  return mixerProblem(mixer)
}

/** @returns the first part that ONNX Runtime does not get; undefined where it gets all */
export const onlyForGgml = (spec: ModelSpec): string | undefined => {
  if (spec.norm.kind !== 'rms') return 'norms with a mean'
  if (spec.embeddingScale !== 1) return 'a scale of the embedding'
  if (spec.logits.scale !== 1 || spec.logits.softcap !== undefined) return 'a scale or cap of logits'
  const problem = spec.kinds.map(layerProblem).find((one) => one !== undefined)
  return problem ?? (spec.kinds.length === 1 ? undefined : 'layers of several kinds')
}
