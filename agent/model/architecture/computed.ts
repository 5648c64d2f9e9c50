/**
 * What of a spec the engine computes (with ggml; ONNX Runtime gets less). A model with other parts is refused by the name
 * of the first of them.
 */
import type { AttentionSpec, LayerSpec, ModelSpec } from './model-spec.ts'

const attentionProblem = ({ layers }: ModelSpec, { kvFrom }: AttentionSpec): string | undefined => {
  if (kvFrom !== undefined && !(kvFrom >= 0 && kvFrom < layers.length)) return `keys and values of layer ${kvFrom}`
  return undefined
}

const layerProblem = (spec: ModelSpec, { mixer, feedForward }: LayerSpec): string | undefined => {
  const { activation, gated } = feedForward
  if (mixer.kind === 'delta' && mixer.keyDim !== mixer.valueDim) return 'delta heads of two widths'
  if (mixer.kind === 'delta' && mixer.convolution < 2) return 'delta nets whose convolution sees one token'
  if (typeof activation === 'object' && !gated) return 'a clamped GLU without a gate'
  return mixer.kind === 'attention' ? attentionProblem(spec, mixer) : undefined
}

/** @returns the part that is not computed; undefined where all are */
export const notComputed = (spec: ModelSpec): string | undefined =>
  spec.kinds.map((kind) => layerProblem(spec, kind)).find((problem) => problem !== undefined)
