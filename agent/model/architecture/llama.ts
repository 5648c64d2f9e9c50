/** A Llama checkpoint as Hugging Face writes it, in parts and canonical tensors. */
import type { ModelConfig } from '../config.ts'
import { ropeFrequencies } from '../rope.ts'
import { readRowBytes, readRows } from '../tensor-slice.ts'
import type { TensorInfo } from '../safetensors.ts'
import type { ModelSpec } from './model-spec.ts'
import type { RoleTensor, Roles, WeightType } from './tensor-roles.ts'

type LlamaConfig = Pick<ModelConfig, 'shape' | 'normEpsilon' | 'rope' | 'tiedEmbeddings'>

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

const layerNames: Readonly<Record<string, string>> = {
  'attention.norm': 'input_layernorm',
  'attention.q': 'self_attn.q_proj',
  'attention.k': 'self_attn.k_proj',
  'attention.v': 'self_attn.v_proj',
  'attention.o': 'self_attn.o_proj',
  'mlp.norm': 'post_attention_layernorm',
  'mlp.gate': 'mlp.gate_proj',
  'mlp.up': 'mlp.up_proj',
  'mlp.down': 'mlp.down_proj',
}

/** What a role is called in the folder; undefined where a Llama has no such tensor. */
const nameOf = (role: string, tied: boolean): string | undefined => {
  if (role === 'embedding') return 'model.embed_tokens.weight'
  if (role === 'head') return tied ? 'model.embed_tokens.weight' : 'lm_head.weight'
  if (role === 'head.norm') return 'model.norm.weight'
  const [, layer, rest] = /^layers\.(\d+)\.(.+)$/.exec(role) ?? []
  return rest in layerNames ? `model.layers.${layer}.${layerNames[rest]}.weight` : undefined
}

/** A tensor as it lies in the file. */
const roleTensor = (role: string, tensor: TensorInfo): RoleTensor => ({
  role,
  rows: tensor.dims[0],
  columns: tensor.dims.length > 1 ? tensor.dims[1] : 1,
  type: tensor.dtype as WeightType,
  sources: [tensor.name],
  file: tensor.file.path,
  readRows: (start, end) => readRows(tensor, start, end),
  readBytes: (start, end) => readRowBytes(tensor, start, end),
})

/** @param tensors of the folder by name */
export const llamaRoles = (tensors: { tensor(name: string): TensorInfo }, tied: boolean): Roles => ({
  role: (role) => {
    const name = nameOf(role, tied)
    if (name === undefined) throw new Error(`a Llama has no tensor ${role}`)
    return roleTensor(role, tensors.tensor(name))
  },
})
