/** A GGUF file in blocks: the engine and llama.cpp itself beside the float64 oracle on what the blocks stand for. */
import { join } from 'node:path'
import { type TinyModel, checkpointOf } from '../../model/architecture/random-checkpoint.ts'
import { rolesOf } from '../../model/architecture/roles.ts'
import type { RoleTensor } from '../../model/architecture/tensor-roles.ts'
import type { LlamaCpp, LlamaCppWay } from '../../model/architecture/test/llama-cpp.ts'
import { oracleLogits } from '../../model/architecture/test/oracle.ts'
import { text, u32, usualKeys } from '../../model/architecture/test/tiny-models.ts'
import { writeMixture } from '../../model/gguf/test/convert.ts'
import { type MixtureName, mixtures } from '../../model/gguf/test/mixtures.ts'
import { openSource } from '../../model/model-source.ts'
import { relativeError } from './reference-model.ts'
import { tokensOf, worstError } from './worst-error.ts'

const sizes = {
  vocab_size: 300,
  hidden_size: 256,
  intermediate_size: 768,
  num_hidden_layers: 8,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 32,
  hidden_act: 'silu',
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
}

/** Wide enough for blocks of 256, whose borders cuts do not meet: columns of o are 64 for each key/value head. */
export const wideModels: Readonly<Record<string, TinyModel>> = {
  llama: { config: { architectures: ['LlamaForCausalLM'], model_type: 'llama', ...sizes }, seed: 5 },
  'qwen3 moe': {
    config: {
      architectures: ['Qwen3MoeForCausalLM'],
      model_type: 'qwen3_moe',
      ...sizes,
      num_hidden_layers: 2,
      num_experts: 4,
      // all of them, so that no choice hangs on the rounding of activations to 8 bits
      num_experts_per_tok: 4,
      moe_intermediate_size: 512,
      norm_topk_prob: true,
    },
    seed: 6,
  },
}

const chunks = [40, 1, 1, 1]
/** How llama.cpp may be asked for the same numbers: all at once, one by one, and as its programs do. */
const ways: readonly LlamaCppWay[] = [
  {},
  { step: 1 },
  { repacked: true, halfCache: true },
  { repacked: true, halfCache: true, step: 1 },
]

export interface FileErrors {
  /** Largest error of a logit, as a part of the largest of its row, in each of the ways to ask llama.cpp. */
  readonly llamaCpp: readonly number[]
  /** The same of the engine, for each list of shares. */
  readonly own: readonly number[]
}

/** @param folder for the file */
export const compareFile = async (
  {
    name,
    mixture,
    worlds,
  }: { readonly name: string; readonly mixture: MixtureName; readonly worlds: readonly number[][] },
  { folder, llama }: { readonly folder: string; readonly llama: LlamaCpp },
): Promise<FileErrors> => {
  const model = wideModels[name]
  const checkpoint = checkpointOf(model)
  const file = join(folder, `${name}-${mixture}.gguf`)
  const { config } = model
  const keys = {
    ...usualKeys(checkpoint.spec, config),
    ...(config.num_experts === undefined
      ? {}
      : {
          expert_count: u32(Number(config.num_experts)),
          expert_used_count: u32(Number(config.num_experts_per_tok)),
          expert_feed_forward_length: u32(Number(config.moe_intermediate_size)),
        }),
  }
  writeMixture(file, checkpoint, mixture, { keys, metadata: { 'general.name': text(`${name} ${mixture}`) } })
  const source = openSource(file)
  try {
    const { spec } = source
    const roles = new Map(rolesOf(spec).map(({ role }): [string, RoleTensor] => [role, source.roles().role(role)]))
    const tokens = tokensOf(spec, chunks)
    const want = oracleLogits(spec, roles, tokens)
    const llamaCpp: number[] = []
    for (const way of ways) {
      const got = await llama.logits(file, tokens, way)
      llamaCpp.push(Math.max(...got.map((row, position) => relativeError(row, want[position]))))
    }
    const own: number[] = []
    for (const shares of worlds) own.push(await worstError({ spec, roles, quant: 'file', shares, chunks }, want))
    return { llamaCpp, own }
  } finally {
    source.close()
  }
}

export const mixtureNames = Object.keys(mixtures) as MixtureName[]
