/** Reads `config.json` of a Hugging Face folder; refuses what this engine would compute wrongly. */
import { join } from 'node:path'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import { checkKeys, configKeys, generationKeys } from './config-keys.ts'
import { readModelFile } from './model-file.ts'
import { readRope, type Rope } from './rope.ts'

export interface ModelConfig {
  readonly shape: ModelShape
  readonly normEpsilon: number
  readonly rope: Rope
  /** The LM head uses the embedding matrix. */
  readonly tiedEmbeddings: boolean
  readonly bosTokenId: number | undefined
  /** Tokens that end an answer. */
  readonly eosTokenIds: readonly number[]
}

const supportedArchitecture = 'LlamaForCausalLM'
/** Bytes; real ones have about a thousand. */
const configBytes = 2 ** 20

const size = (maximum: number) => Type.Integer({ minimum: 1, maximum })
const TokenIds = Type.Union([Type.Integer({ minimum: 0 }), Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 64 })])

const ConfigFile = Type.Object({
  architectures: Type.Array(Type.String(), { minItems: 1 }),
  vocab_size: size(1 << 24),
  hidden_size: size(1 << 20),
  intermediate_size: size(1 << 22),
  num_hidden_layers: size(1024),
  num_attention_heads: size(4096),
  num_key_value_heads: Type.Optional(Type.Union([size(4096), Type.Null()])),
  head_dim: Type.Optional(Type.Union([size(4096), Type.Null()])),
  hidden_act: Type.String(),
  max_position_embeddings: size(1 << 24),
  rms_norm_eps: Type.Number({ exclusiveMinimum: 0, maximum: 1 }),
  rope_theta: Type.Optional(Type.Union([Type.Number({ exclusiveMinimum: 0 }), Type.Null()])),
  rope_scaling: Type.Optional(Type.Unknown()),
  rope_parameters: Type.Optional(Type.Unknown()),
  original_max_position_embeddings: Type.Optional(Type.Unknown()),
  tie_word_embeddings: Type.Optional(Type.Union([Type.Boolean(), Type.Null()])),
  bos_token_id: Type.Optional(Type.Union([Type.Integer({ minimum: 0 }), Type.Null()])),
  eos_token_id: Type.Optional(Type.Union([TokenIds, Type.Null()])),
})
type ConfigFile = Type.Static<typeof ConfigFile>

const GenerationFile = Type.Object({ eos_token_id: Type.Optional(Type.Union([TokenIds, Type.Null()])) })

const knownKeys = configKeys(Object.keys(ConfigFile.properties))
const knownGenerationKeys = generationKeys(Object.keys(GenerationFile.properties))

const invalid = (file: string, problem: string): MeshError => new MeshError('modelConfigInvalid', { file, problem })

const parse = (folder: string, name: string): unknown => {
  const file = join(folder, name)
  const bytes = readModelFile(folder, name, configBytes)
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw new MeshError('modelConfigInvalid', { file, problem: problemOf(error) }, error)
  }
}

const idList = (ids: number | readonly number[] | null | undefined): readonly number[] =>
  typeof ids === 'number' ? [ids] : (ids ?? [])

const shapeOf = (file: string, config: ConfigFile): ModelShape => {
  const heads = config.num_attention_heads
  const kvHeads = config.num_key_value_heads ?? heads
  const headDim = config.head_dim ?? config.hidden_size / heads
  if (heads % kvHeads !== 0) throw invalid(file, `${heads} heads are no multiple of ${kvHeads} key/value heads`)
  if (!Number.isInteger(headDim) || headDim % 2 !== 0)
    throw invalid(file, `the head size is ${headDim}, it must be even`)
  return {
    layers: config.num_hidden_layers,
    hidden: config.hidden_size,
    heads,
    kvHeads,
    headDim,
    ffn: config.intermediate_size,
    vocab: config.vocab_size,
    context: config.max_position_embeddings,
  }
}

/** @throws MeshError `modelFileMissing` | `modelConfigInvalid` | `architectureUnsupported` */
export const readConfig = (folder: string): ModelConfig => {
  const file = join(folder, 'config.json')
  const config = parse(folder, 'config.json')
  const named = config as { architectures?: unknown }
  // before the schema: another architecture has other fields, and its name is the better message
  const architectures = Array.isArray(named?.architectures) ? named.architectures : []
  if (typeof architectures[0] === 'string' && !architectures.includes(supportedArchitecture)) {
    throw new MeshError('architectureUnsupported', { architecture: architectures[0] })
  }
  if (!Value.Check(ConfigFile, config)) {
    const [first] = Value.Errors(ConfigFile, config)
    throw invalid(file, `${first?.instancePath || 'the content'} ${first?.message ?? 'is not what it should be'}`)
  }
  checkKeys(file, config, knownKeys)
  const generation = parseOptional(folder)
  return {
    shape: shapeOf(file, config),
    normEpsilon: config.rms_norm_eps,
    rope: ropeOf(file, config),
    tiedEmbeddings: config.tie_word_embeddings ?? false,
    bosTokenId: config.bos_token_id ?? undefined,
    eosTokenIds: [...new Set([...idList(config.eos_token_id), ...generation])],
  }
}

const ropeOf = (file: string, config: ConfigFile): Rope => {
  try {
    return readRope(config)
  } catch (error) {
    throw invalid(file, problemOf(error))
  }
}

/** End tokens of `generation_config.json`, if there is one: chat models end turns with tokens that config.json lacks. */
const parseOptional = (folder: string): readonly number[] => {
  let content: unknown
  try {
    content = parse(folder, 'generation_config.json')
  } catch (error) {
    if (error instanceof MeshError && error.code === 'modelFileMissing') return []
    throw error
  }
  if (!Value.Check(GenerationFile, content))
    throw invalid(join(folder, 'generation_config.json'), 'eos_token_id is not a token id')
  checkKeys(join(folder, 'generation_config.json'), content, knownGenerationKeys)
  return idList(content.eos_token_id)
}
