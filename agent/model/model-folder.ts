/** A model folder, opened and checked: configuration, tensor table against the shape, and what identifies it. */
import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import { isModelId } from '../../shared/ids.ts'
import type { ModelManifest, ModelShape } from '../../shared/schema/model.ts'
import { type ModelConfig, readConfig } from './config.ts'
import { checkModelFolder, modelsIn, unknownModel } from './folder-diagnosis.ts'
import { readModelFile } from './model-file.ts'
import { openTensors, type TensorInfo, type TensorStore } from './safetensors.ts'

export interface Model {
  readonly folder: string
  readonly config: ModelConfig
  readonly manifest: ModelManifest
  /** @throws MeshError `tensorMissing` */
  tensor(name: string): TensorInfo
  close(): void
}

/** Bytes of tokenizer.json; the largest vocabularies need about 30 MB. */
export const tokenizerBytes = 256 * 2 ** 20
/** Bytes sampled at the start, middle and end of each tensor: finds other weights without reading all of them. */
const sampleBytes = 4096

/** Names and dims of every tensor that a Llama model has, as Hugging Face writes them ([out, in]). */
const wantedTensors = (shape: ModelShape, tiedEmbeddings: boolean): [string, number[]][] => {
  const { hidden, ffn } = shape
  const queries = shape.heads * shape.headDim
  const keys = shape.kvHeads * shape.headDim
  const layers = Array.from({ length: shape.layers }, (_, layer): [string, number[]][] => {
    const at = `model.layers.${layer}`
    return [
      [`${at}.input_layernorm.weight`, [hidden]], [`${at}.post_attention_layernorm.weight`, [hidden]],
      [`${at}.self_attn.q_proj.weight`, [queries, hidden]], [`${at}.self_attn.k_proj.weight`, [keys, hidden]],
      [`${at}.self_attn.v_proj.weight`, [keys, hidden]], [`${at}.self_attn.o_proj.weight`, [hidden, queries]],
      [`${at}.mlp.gate_proj.weight`, [ffn, hidden]], [`${at}.mlp.up_proj.weight`, [ffn, hidden]], [`${at}.mlp.down_proj.weight`, [hidden, ffn]],
    ]
  })
  const head: [string, number[]][] = tiedEmbeddings ? [] : [['lm_head.weight', [shape.vocab, hidden]]]
  return [['model.embed_tokens.weight', [shape.vocab, hidden]], ['model.norm.weight', [hidden]], ...layers.flat(), ...head]
}

/** Tables that old files carry along, and the head of a model that uses its embedding instead (as transformers does). */
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
    if (tensor.dims.join() !== dims.join()) throw new MeshError('tensorShape', { tensor: name, got: `[${tensor.dims.join(', ')}]`, want: `[${dims.join(', ')}]` })
    if (!['F32', 'F16', 'BF16'].includes(tensor.dtype)) throw new MeshError('dtypeUnsupported', { tensor: name, dtype: tensor.dtype })
  }
}

const revisionOf = (folder: string, { tensors }: TensorStore): string => {
  const hash = createHash('sha256').update('meshnet-model-v1\0')
  for (const name of ['config.json', 'tokenizer.json']) hash.update(createHash('sha256').update(readModelFile(folder, name, tokenizerBytes)).digest())
  for (const tensor of [...tensors.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    hash.update(`${tensor.name}\0${tensor.dtype}\0${tensor.dims.join('x')}\0`)
    const length = tensor.end - tensor.start
    const sample = new Uint8Array(Math.min(sampleBytes, length))
    for (const at of [0, Math.floor((length - sample.length) / 2), length - sample.length]) {
      tensor.file.read(sample, tensor.start + at)
      hash.update(sample)
    }
  }
  return hash.digest('hex')
}

/**
 * Opens and checks a folder; weights are not read beyond samples. Close it when done.
 * @throws MeshError `modelFileMissing` | `modelConfigInvalid` | `architectureUnsupported` | `safetensorsInvalid` |
 * `tensorMissing` | `tensorShape` | `dtypeUnsupported`
 */
export const openModel = (folder: string, modelId: string): Model => {
  const config = readConfig(folder)
  readModelFile(folder, 'tokenizer.json', tokenizerBytes)
  const store = openTensors(folder)
  try {
    checkTensors(folder, config, store)
    return {
      folder,
      config,
      manifest: { modelId, revision: revisionOf(folder, store), shape: config.shape, weightBytes: store.bytes },
      tensor: (name) => {
        const found = store.tensors.get(name)
        if (!found) throw new MeshError('tensorMissing', { tensor: name, folder })
        return found
      },
      close: () => store.close(),
    }
  } catch (error) {
    store.close()
    throw error
  }
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false

/** Windows takes a colon in a name for something else. */
const folderNameOf = (modelId: string): string => (process.platform === 'win32' ? modelId.replace(':', '@') : modelId)

/**
 * Where a model lies: the given folder, `MESHNET_HOME/models/<id>`, or among those that come with Mesh.
 * @throws MeshError `modelUnknown` | `modelNotDownloaded` | `modelTagUnknown` | those of `checkModelFolder` |
 * `usage` (an id that could lead elsewhere)
 */
export const resolveModel = (modelId: string, places: { readonly home: Home; readonly bundledFolder: string; readonly modelDir?: string }): string => {
  if (places.modelDir !== undefined) {
    const folder = resolve(places.modelDir)
    checkModelFolder(folder)
    return folder
  }
  if (!isModelId(modelId)) {
    throw new MeshError('usage', { problem: `${JSON.stringify(modelId.slice(0, 300))} is no model id; a folder is named with --model-dir` })
  }
  const own = join(places.home.models, folderNameOf(modelId))
  const found = [own, join(places.bundledFolder, folderNameOf(modelId))].find(isFolder)
  if (found === undefined) throw unknownModel(modelId, own, modelsIn([places.home.models, places.bundledFolder]))
  return found
}
