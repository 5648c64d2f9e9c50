/** A Llama of a shape, in parts: for shapes without files. */
import type { FolderConfig } from '../config.ts'
import { ropeFrequencies } from '../rope.ts'
import type { ModelSpec } from './model-spec.ts'

type LlamaConfig = Pick<FolderConfig, 'shape' | 'normEpsilon' | 'rope' | 'tiedEmbeddings'>

export const llamaSpec = ({ shape, normEpsilon, rope, tiedEmbeddings }: LlamaConfig): ModelSpec => ({
  family: 'llama',
  hidden: shape.hidden,
  vocab: shape.vocab,
  context: shape.context,
  norm: { kind: 'rms', epsilon: normEpsilon },
  embeddingScale: 1,
  logits: { scale: 1 },
  tied: tiedEmbeddings,
  kinds: [
    {
      block: 'pre',
      mixer: {
        kind: 'attention',
        heads: shape.heads,
        kvHeads: shape.kvHeads,
        headDim: shape.headDim,
        scale: 1 / Math.sqrt(shape.headDim),
        bias: { qkv: false, o: false },
        mask: { kind: 'full' },
        rope: {
          frequencies: [...ropeFrequencies(rope, shape.headDim)],
          span: shape.headDim,
          pairing: 'half',
          at: 'head',
          magnitude: 1,
        },
      },
      feedForward: { activation: 'silu', gated: true, dense: { ffn: shape.ffn, bias: false } },
    },
  ],
  layers: Array.from({ length: shape.layers }, () => 0),
})
