/** Which half layers are computed again: dense MLPs with a gate, whatever its activation. */
import type { FeedForwardSpec, LayerSpec, ModelSpec } from '../model/architecture/model-spec.ts'
import { isMainWidth } from '../model/shard-ranges.ts'
import type { Quant } from '../../shared/schema/model.ts'

type Checked = Pick<ModelSpec, 'kinds' | 'layers' | 'norm'>

const hasPlainMlp = ({ gated, dense, experts }: FeedForwardSpec): boolean =>
  gated && dense?.bias === false && experts === undefined

const isCheckable = (spec: Checked, { block, feedForward }: LayerSpec): boolean =>
  (block === 'pre' || block === 'sandwich') &&
  hasPlainMlp(feedForward) &&
  isMainWidth(spec, feedForward.dense?.ffn ?? 0)

/** Layers whose MLP halves can be checked, in a model of which any can be. */
export const checkableLayers = (spec: Checked): number[] =>
  [...spec.layers.keys()].filter((layer) => isCheckable(spec, spec.kinds[spec.layers[layer]]))

/** @returns why no half of the model can be checked; undefined where some can */
export const uncheckable = (spec: Checked, quant: Quant): string | undefined => {
  if (quant === 'file') return 'weights in the types of their file are not computed again'
  if (spec.norm.kind !== 'rms') return 'norms with a mean are not computed again'
  return checkableLayers(spec).length > 0 ? undefined : 'experts, and MLPs without a gate, are not computed again'
}
