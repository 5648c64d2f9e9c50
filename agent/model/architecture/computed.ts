/**
 * What of a spec the engine computes (with ggml; ONNX Runtime gets less). A model with other parts is refused by the name
 * of the first of them.
 */
import type { AttentionSpec, LayerSpec, ModelSpec } from './model-spec.ts'

const attentionProblem = (
  { context, layers }: ModelSpec,
  { kvFrom, temperature, rope }: AttentionSpec,
): string | undefined => {
  if (kvFrom !== undefined && !(kvFrom >= 0 && kvFrom < layers.length)) return `keys and values of layer ${kvFrom}`
  if (temperature) return 'a temperature of queries by position'
  if (rope?.long && context > rope.long.beyond) return 'longrope beyond the first context'
  if (rope?.at === 'tail') return 'a rotation at the end of the head'
  return undefined
}

const layerProblem = (spec: ModelSpec, { mixer, feedForward }: LayerSpec): string | undefined => {
  const { experts, dense, activation, gated } = feedForward
  if (mixer.kind === 'delta') return 'gated delta layers'
  if (typeof activation === 'object' && !gated) return 'a clamped GLU without a gate'
  if (experts?.weightOnInput) return 'experts whose weight multiplies their input'
  if (dense && experts) return 'an MLP beside experts in one layer'
  return mixer.kind === 'mla' ? undefined : attentionProblem(spec, mixer)
}

/** @returns the part that is not computed; undefined where all are */
export const notComputed = (spec: ModelSpec): string | undefined =>
  spec.kinds.map((kind) => layerProblem(spec, kind)).find((problem) => problem !== undefined)
