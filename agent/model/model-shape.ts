/** What the control plane and the plan need to know of a model. */
import type { ModelShape } from '../../shared/schema/model.ts'
import type { AttentionSpec, ModelSpec } from './architecture/model-spec.ts'
import { widthsOf } from './shard-ranges.ts'

export const shapeOf = (spec: ModelSpec): ModelShape => {
  const mixer = spec.kinds.map((kind) => kind.mixer).find((one): one is AttentionSpec => one.kind === 'attention')
  if (!mixer) throw new Error('a model without attention has no shape yet')
  return {
    layers: spec.layers.length,
    hidden: spec.hidden,
    heads: mixer.heads,
    kvHeads: mixer.kvHeads,
    headDim: mixer.headDim,
    ffn: widthsOf(spec)[0],
    vocab: spec.vocab,
    context: spec.context,
  }
}
