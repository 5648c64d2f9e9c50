/** Models of any size as folders whose files have headers and holes in place of weights. */
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

type Tensors = readonly (readonly [name: string, dims: readonly number[]])[]

const bytesOf = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 2)

const writeHoles = (file: string, tensors: Tensors): void => {
  const header: Record<string, object> = {}
  let end = 0
  for (const [name, dims] of tensors) {
    header[name] = { dtype: 'BF16', shape: dims, data_offsets: [end, end + bytesOf(dims)] }
    end += bytesOf(dims)
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const handle = openSync(file, 'w')
  try {
    writeSync(handle, Buffer.concat([length, json]))
    ftruncateSync(handle, 8 + json.length + end)
  } finally {
    closeSync(handle)
  }
}

/** @param files that the tensors are spread over */
export const writeHeaderModel = (folder: string, config: object, tensors: Tensors, files: number): void => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  const weightMap: Record<string, string> = {}
  for (let index = 0; index < files; index++) {
    const name = `model-${String(index + 1).padStart(5, '0')}-of-${String(files).padStart(5, '0')}.safetensors`
    const own = tensors.filter((_, at) => at % files === index)
    writeHoles(join(folder, name), own)
    for (const [tensor] of own) weightMap[tensor] = name
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }))
}

interface Sizes {
  readonly layers: number
  readonly hidden: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly vocab: number
}

const attention = (at: string, { hidden, heads, kvHeads, headDim }: Sizes): Tensors => [
  [`${at}.input_layernorm.weight`, [hidden]],
  [`${at}.post_attention_layernorm.weight`, [hidden]],
  [`${at}.self_attn.q_proj.weight`, [heads * headDim, hidden]],
  [`${at}.self_attn.k_proj.weight`, [kvHeads * headDim, hidden]],
  [`${at}.self_attn.v_proj.weight`, [kvHeads * headDim, hidden]],
  [`${at}.self_attn.o_proj.weight`, [hidden, heads * headDim]],
]

const mlp = (at: string, hidden: number, ffn: number): Tensors => [
  [`${at}.gate_proj.weight`, [ffn, hidden]],
  [`${at}.up_proj.weight`, [ffn, hidden]],
  [`${at}.down_proj.weight`, [hidden, ffn]],
]

const ends = ({ hidden, vocab }: Sizes): Tensors => [
  ['model.embed_tokens.weight', [vocab, hidden]],
  ['model.norm.weight', [hidden]],
  ['lm_head.weight', [vocab, hidden]],
]

const configOf = (sizes: Sizes): object => ({
  hidden_size: sizes.hidden,
  num_hidden_layers: sizes.layers,
  num_attention_heads: sizes.heads,
  num_key_value_heads: sizes.kvHeads,
  head_dim: sizes.headDim,
  vocab_size: sizes.vocab,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
})

const layersOf = (count: number, layer: (at: string) => Tensors): Tensors =>
  Array.from({ length: count }, (_, index) => layer(`model.layers.${index}`)).flat()

/** A dense Llama of 70 billion weights. */
export const writeDense70 = (folder: string): void => {
  const sizes = { layers: 80, hidden: 8192, heads: 64, kvHeads: 8, headDim: 128, vocab: 128_256 }
  const config = {
    ...configOf(sizes),
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    intermediate_size: 28_672,
    max_position_embeddings: 131_072,
    rope_theta: 500_000,
  }
  const tensors = layersOf(sizes.layers, (at) => [...attention(at, sizes), ...mlp(`${at}.mlp`, sizes.hidden, 28_672)])
  writeHeaderModel(folder, config, [...ends(sizes), ...tensors], 30)
}

/** A Qwen 3 mixture of 235 billion weights: 128 experts, 8 used. */
export const writeMixture235 = (folder: string): void => {
  const sizes = { layers: 94, hidden: 4096, heads: 64, kvHeads: 4, headDim: 128, vocab: 151_936 }
  const config = {
    ...configOf(sizes),
    architectures: ['Qwen3MoeForCausalLM'],
    model_type: 'qwen3_moe',
    intermediate_size: 12_288,
    moe_intermediate_size: 1536,
    num_experts: 128,
    num_experts_per_tok: 8,
    norm_topk_prob: true,
    decoder_sparse_step: 1,
    mlp_only_layers: [],
    max_position_embeddings: 40_960,
    rope_theta: 1e6,
  }
  const tensors = layersOf(sizes.layers, (at) => [
    ...attention(at, sizes),
    [`${at}.self_attn.q_norm.weight`, [128]],
    [`${at}.self_attn.k_norm.weight`, [128]],
    [`${at}.mlp.gate.weight`, [128, sizes.hidden]],
    ...Array.from({ length: 128 }, (_, expert) => mlp(`${at}.mlp.experts.${expert}`, sizes.hidden, 1536)).flat(),
  ])
  writeHeaderModel(folder, config, [...ends(sizes), ...tensors], 118)
}
