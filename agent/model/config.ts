/** Reads `config.json` of a Hugging Face folder; refuses what this engine would compute wrongly. */
import { join } from 'node:path'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import { notComputed } from './architecture/computed.ts'
import { configValues } from './architecture/config-values.ts'
import type { ModelSpec } from './architecture/model-spec.ts'
import { readSpec, type ReadSpec } from './architecture/read-spec.ts'
import { readRope } from './architecture/rope-config.ts'
import { checkKeys, generationKeys } from './config-keys.ts'
import { type Json, shown } from './json.ts'
import { readModelFile } from './model-file.ts'
import type { ModelSource } from './model-source.ts'
import { shapeOf } from './model-shape.ts'
import type { Rope } from './rope.ts'

export interface ModelConfig {
  /** What the model computes. */
  readonly spec: ModelSpec
  readonly shape: ModelShape
  readonly normEpsilon: number
  /** The LM head uses the embedding matrix. */
  readonly tiedEmbeddings: boolean
  readonly bosTokenId: number | undefined
  /** Tokens that end an answer. */
  readonly eosTokenIds: readonly number[]
}

/** Of a folder, whose rope is of a kind that its reader names. */
export interface FolderConfig extends ModelConfig {
  readonly rope: Rope
}

/** Bytes; real ones have about a thousand. */
const configBytes = 2 ** 20

const TokenId = Type.Integer({ minimum: 0 })
const TokenIds = Type.Union([TokenId, Type.Array(TokenId, { maxItems: 64 }), Type.Null()])
type TokenIds = Type.Static<typeof TokenIds>

const GenerationFile = Type.Object({ eos_token_id: Type.Optional(TokenIds) })

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

const idList = (ids: TokenIds | undefined): readonly number[] => (typeof ids === 'number' ? [ids] : (ids ?? []))

/** Of a spec whose every part is computed. */
const ropeOf = (file: string, { text, family }: ReadSpec, headDim: number): Rope => {
  const { theta, scaling } = readRope(configValues(file, text, family.defaults), { headDim })
  if (scaling.kind === 'default') return { theta }
  if (scaling.kind === 'llama3') return { theta, scaling }
  throw invalid(file, `rope scaling ${scaling.kind} is not computed yet`)
}

const idsOf = (file: string, text: Json, key: string): readonly number[] => {
  const ids = text[key]
  if (ids === undefined || Value.Check(TokenIds, ids)) return idList(ids)
  throw invalid(file, `${key} is ${shown(ids)}, it must be a token id or a list of them`)
}

/** @throws MeshError `modelFileMissing` | `modelConfigInvalid` | `architectureUnsupported` */
export const readConfig = (folder: string): FolderConfig => {
  const file = join(folder, 'config.json')
  const read = readSpec(parse(folder, 'config.json'), { file })
  const config = configOf(file, read.spec, { config: read.text, folder })
  return { ...config, rope: ropeOf(file, read, config.shape.headDim) }
}

interface TokenFiles {
  /** Content of config.json. */
  readonly config: Json
  readonly folder: string
}

const tokensOf = (file: string, { config, folder }: TokenFiles): NonNullable<ModelSource['tokens']> => ({
  begin: idsOf(file, config, 'bos_token_id')[0],
  ends: [...new Set([...idsOf(file, config, 'eos_token_id'), ...parseOptional(folder)])],
})

const configOf = (
  file: string,
  spec: ModelSpec,
  tokens: NonNullable<ModelSource['tokens']> | TokenFiles,
): ModelConfig => {
  const problem = notComputed(spec)
  if (problem !== undefined) throw invalid(file, `it is a ${spec.family} with ${problem}: that is not computed yet`)
  const { begin, ends } = 'ends' in tokens ? tokens : tokensOf(file, tokens)
  return {
    spec,
    shape: shapeOf(spec),
    normEpsilon: spec.norm.epsilon,
    tiedEmbeddings: spec.tied,
    bosTokenId: begin,
    eosTokenIds: ends,
  }
}

/** @throws MeshError `modelConfigInvalid` (also of a part that is not computed) */
export const configOfSource = ({ path, spec, config = {}, tokens }: ModelSource): ModelConfig =>
  tokens ? configOf(path, spec, tokens) : configOf(join(path, 'config.json'), spec, { config, folder: path })

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
