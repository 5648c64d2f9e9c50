/** A model folder, opened and checked: configuration, tensor table against the shape, and what identifies it. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import { isModelId } from '../../shared/ids.ts'
import { isFolder } from '../../shared/lenient-files.ts'
import type { ModelManifest, ModelShape } from '../../shared/schema/model.ts'
import { type ModelConfig, readConfig } from './config.ts'
import { checkModelFolder, modelsIn, unknownModel } from './folder-diagnosis.ts'
import { describingFiles, readModelFile } from './model-file.ts'
import { type HashingOptions, hashTensors } from './model-hashes.ts'
import { rootOf } from './pieces.ts'
import { openTensors, type TensorFile, type TensorInfo, type TensorStore } from './safetensors.ts'

export interface Model {
  readonly folder: string
  readonly config: ModelConfig
  readonly about: Omit<ModelManifest, 'revision'>
  /** Of weights; open. */
  readonly files: readonly TensorFile[]
  /**
   * What the folder holds, byte for byte. Reads all weights that serving uses, unless their hashes are remembered;
   * asked again it answers at once.
   * @throws MeshError `safetensorsInvalid` | `weightsUnusable` | the reason of the signal
   */
  identify(options?: Partial<HashingOptions>): Promise<ModelIdentity>
  /** @throws MeshError `tensorMissing` */
  tensor(name: string): TensorInfo
  close(): void
}

export interface ModelIdentity {
  /** SHA-256 over the describing files and the roots of the hash trees of all tensors that are used. */
  readonly revision: string
  /** Hashes of the pieces of each tensor; see `pieces.ts`. */
  readonly digests: ReadonlyMap<string, Uint8Array>
  /** Tensors that were read for it; of the others the hashes were remembered. */
  readonly read: ReadonlySet<string>
}

/** Bytes of tokenizer.json; the largest vocabularies need about 30 MB. */
export const tokenizerBytes = 256 * 2 ** 20
/** Cores that read weights at once: more are waited for by the disk. */
const hashingThreads = (): number => Math.min(4, availableParallelism())

/** Names and dims of every tensor that a Llama model has, as Hugging Face writes them ([out, in]). */
const wantedTensors = (shape: ModelShape, tiedEmbeddings: boolean): [string, number[]][] => {
  const { hidden, ffn } = shape
  const queries = shape.heads * shape.headDim
  const keys = shape.kvHeads * shape.headDim
  const layers = Array.from({ length: shape.layers }, (_, layer): [string, number[]][] => {
    const at = `model.layers.${layer}`
    return [
      [`${at}.input_layernorm.weight`, [hidden]],
      [`${at}.post_attention_layernorm.weight`, [hidden]],
      [`${at}.self_attn.q_proj.weight`, [queries, hidden]],
      [`${at}.self_attn.k_proj.weight`, [keys, hidden]],
      [`${at}.self_attn.v_proj.weight`, [keys, hidden]],
      [`${at}.self_attn.o_proj.weight`, [hidden, queries]],
      [`${at}.mlp.gate_proj.weight`, [ffn, hidden]],
      [`${at}.mlp.up_proj.weight`, [ffn, hidden]],
      [`${at}.mlp.down_proj.weight`, [hidden, ffn]],
    ]
  })
  const head: [string, number[]][] = tiedEmbeddings ? [] : [['lm_head.weight', [shape.vocab, hidden]]]
  return [
    ['model.embed_tokens.weight', [shape.vocab, hidden]],
    ['model.norm.weight', [hidden]],
    ...layers.flat(),
    ...head,
  ]
}

/**
 * Tables that old files carry along, and the head of a model that uses its embedding instead (as transformers does).
 */
const isUnused = (name: string, { tiedEmbeddings }: ModelConfig): boolean =>
  name.endsWith('.rotary_emb.inv_freq') || (tiedEmbeddings && name === 'lm_head.weight')

const checkTensors = (folder: string, config: ModelConfig, { tensors }: TensorStore): void => {
  const wanted = new Map(wantedTensors(config.shape, config.tiedEmbeddings))
  for (const name of tensors.keys()) {
    // biases, scales of quantised weights, adapters: passing over them would give other text
    if (!wanted.has(name) && !isUnused(name, config)) throw new MeshError('tensorUnknown', { tensor: name, folder })
  }
  for (const [name, dims] of wanted) {
    const tensor = tensors.get(name)
    if (!tensor) throw new MeshError('tensorMissing', { tensor: name, folder })
    if (tensor.dims.join() !== dims.join())
      throw new MeshError('tensorShape', {
        tensor: name,
        got: `[${tensor.dims.join(', ')}]`,
        want: `[${dims.join(', ')}]`,
      })
    if (!['F32', 'F16', 'BF16'].includes(tensor.dtype))
      throw new MeshError('dtypeUnsupported', { tensor: name, dtype: tensor.dtype })
  }
}

/** Hash of each file that describes the model, where there is one. */
const describe = (folder: string): string[] =>
  describingFiles.map((name) => {
    if (!existsSync(join(folder, name))) return `${name} -`
    return `${name} ${createHash('sha256')
      .update(readModelFile(folder, name, tokenizerBytes))
      .digest('hex')}`
  })

const revisionOf = (
  described: readonly string[],
  tensors: readonly TensorInfo[],
  digests: ReadonlyMap<string, Uint8Array>,
): string => {
  const roots = tensors.map(
    ({ name, dtype, dims }) =>
      `${name} ${dtype} ${dims.join('x')} ${rootOf(digests.get(name) as Uint8Array).toString('hex')}`,
  )
  return createHash('sha256')
    .update(['meshnet-model-v2', ...described, ...roots.toSorted()].join('\n'))
    .digest('hex')
}

/**
 * Opens and checks a folder; weights are read by `identify` and not before. Close it when done.
 * @throws MeshError `modelFileMissing` | `modelConfigInvalid` | `architectureUnsupported` | `safetensorsInvalid` |
 * `tensorMissing` | `tensorShape` | `dtypeUnsupported`
 */
export const openModel = (folder: string, modelId: string): Model => {
  const config = readConfig(folder)
  readModelFile(folder, 'tokenizer.json', tokenizerBytes)
  const store = openTensors(folder)
  try {
    checkTensors(folder, config, store)
    return modelOf(folder, modelId, config, store)
  } catch (error) {
    store.close()
    throw error
  }
}

const modelOf = (folder: string, modelId: string, config: ModelConfig, store: TensorStore): Model => {
  const used = wantedTensors(config.shape, config.tiedEmbeddings).map(([name]) => store.tensors.get(name) as TensorInfo)
  const described = describe(folder)
  let identity: Promise<ModelIdentity> | undefined
  const identify = async (options: Partial<HashingOptions>): Promise<ModelIdentity> => {
    const { digests, read } = await hashTensors(used, store.files, { threads: hashingThreads(), ...options })
    // the tokenizer was loaded meanwhile, by name: it must be the one that is meant
    if (describe(folder).join() !== described.join())
      throw new MeshError('modelConfigInvalid', { file: folder, problem: 'it was changed while it was read' })
    return { revision: revisionOf(described, used, digests), digests, read }
  }
  return {
    folder,
    config,
    about: { modelId, shape: config.shape, weightBytes: store.bytes },
    files: store.files,
    identify: (options = {}) => {
      const begun = identity ?? identify(options)
      identity = begun
      begun.catch(() => {
        identity = undefined
      })
      return begun
    },
    tensor: (name) => {
      const found = store.tensors.get(name)
      if (!found) throw new MeshError('tensorMissing', { tensor: name, folder })
      return found
    },
    close: () => store.close(),
  }
}

/** Windows takes a colon in a name for something else. */
const folderNameOf = (modelId: string): string => (process.platform === 'win32' ? modelId.replace(':', '@') : modelId)

/**
 * Where a model lies: the given folder, `MESHNET_HOME/models/<id>`, or among those that come with Mesh.
 * @throws MeshError `modelUnknown` | `modelNotDownloaded` | `modelTagUnknown` | those of `checkModelFolder` |
 * `usage` (an id that could lead elsewhere)
 */
export const resolveModel = (
  modelId: string,
  places: { readonly home: Home; readonly bundledFolder: string; readonly modelDir?: string },
): string => {
  if (places.modelDir !== undefined) {
    const folder = resolve(places.modelDir)
    checkModelFolder(folder)
    return folder
  }
  if (!isModelId(modelId)) {
    throw new MeshError('usage', {
      problem: `${JSON.stringify(modelId.slice(0, 300))} is no model id; a folder is named with --model-dir`,
    })
  }
  const own = join(places.home.models, folderNameOf(modelId))
  const found = [own, join(places.bundledFolder, folderNameOf(modelId))].find(isFolder)
  if (found === undefined) throw unknownModel(modelId, own, modelsIn([places.home.models, places.bundledFolder]))
  return found
}
