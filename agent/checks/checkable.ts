/** Which models' half layers are computed again: those whose MLPs are all like a Llama's. */
import type { ModelSpec } from '../model/architecture/model-spec.ts'
import type { Quant } from '../../shared/schema/model.ts'

/** @returns why no half of the model can be checked; undefined where all can */
export const uncheckable = ({ kinds, norm }: Pick<ModelSpec, 'kinds' | 'norm'>, quant: Quant): string | undefined => {
  if (quant === 'file') return 'weights in the types of their file are not computed again'
  if (norm.kind !== 'rms') return 'norms with a mean are not computed again'
  const [first] = kinds
  const isLike = kinds.every(
    ({ block, feedForward: { activation, gated, dense, experts } }) =>
      (block === 'pre' || block === 'sandwich') &&
      activation === 'silu' &&
      gated &&
      dense?.bias === false &&
      dense.ffn === first.feedForward.dense?.ffn &&
      experts === undefined,
  )
  return isLike ? undefined : 'experts and MLPs other than with silu are not computed again'
}
