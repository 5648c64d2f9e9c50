/** A model, opened and checked: configuration, tensors against it, and what identifies it. */
import { createHash } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import { isModelId } from '../../shared/ids.ts'
import { isFolder } from '../../shared/lenient-files.ts'
import type { ModelManifest } from '../../shared/schema/model.ts'
import type { Roles } from './architecture/tensor-roles.ts'
import { configOfSource, type ModelConfig } from './config.ts'
import { modelPlace, modelsIn, unknownModel } from './folder-diagnosis.ts'
import { isGguf } from './gguf/name.ts'
import { readModelFile } from './model-file.ts'
import { type HashingOptions, hashTensors } from './model-hashes.ts'
import { fileBitsOf } from './model-shape.ts'
import { rootOf } from './pieces.ts'
import { type ModelSource, openSource } from './model-source.ts'
import type { TensorFile, TensorInfo } from './tensor-file.ts'

export interface Model {
  /** The folder, or the GGUF file. */
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
  /** A tensor of the files that is used. @throws MeshError `tensorMissing` */
  tensor(name: string): TensorInfo
  /** Tensors of the files that a canonical tensor is made of. @throws MeshError `tensorMissing` */
  partsOf(role: string): readonly TensorInfo[]
  /** Canonical tensors. @param digests of what `identify` read: whatever is read is compared with them */
  roles(digests?: ReadonlyMap<string, Uint8Array>): Roles
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
 * Opens and checks a model; weights are read by `identify` and not before. Close it when done.
 * @param folder of safetensors, or a GGUF file
 * @throws MeshError `modelFileMissing` | `modelConfigInvalid` | `architectureUnsupported` | `safetensorsInvalid` |
 * `ggufInvalid` | `tensorMissing` | `tensorShape` | `tensorUnknown` | `dtypeUnsupported`
 */
export const openModel = (folder: string, modelId: string): Model => {
  const source = openSource(folder)
  try {
    const config = configOfSource(source)
    if (!isGguf(folder)) readModelFile(folder, 'tokenizer.json', tokenizerBytes)
    return modelOf(source, modelId, config)
  } catch (error) {
    source.close()
    throw error
  }
}

const modelOf = (source: ModelSource, modelId: string, config: ModelConfig): Model => {
  const { path: folder, used } = source
  const described = source.describe()
  const byName = new Map(used.map((tensor) => [tensor.name, tensor]))
  let identity: Promise<ModelIdentity> | undefined
  const identify = async (options: Partial<HashingOptions>): Promise<ModelIdentity> => {
    const { digests, read } = await hashTensors(used, source.files, { threads: hashingThreads(), ...options })
    // the tokenizer was loaded meanwhile, by name: it must be the one that is meant
    if (source.describe().join() !== described.join())
      throw new MeshError('modelConfigInvalid', { file: folder, problem: 'it was changed while it was read' })
    return { revision: revisionOf(described, used, digests), digests, read }
  }
  return {
    folder,
    config,
    about: {
      modelId,
      shape: { ...config.shape, ...fileBitsOf(config.spec, source.roles()) },
      weightBytes: source.bytes,
    },
    files: source.files,
    identify: (options = {}) => {
      const begun = identity ?? identify(options)
      identity = begun
      begun.catch(() => {
        identity = undefined
      })
      return begun
    },
    tensor: (name) => {
      const found = byName.get(name)
      if (!found) throw new MeshError('tensorMissing', { tensor: name, folder })
      return found
    },
    partsOf: (role) => source.partsOf(role),
    roles: (digests) => source.roles(digests),
    close: () => source.close(),
  }
}

/** Windows takes a colon in a name for something else. */
const folderNameOf = (modelId: string): string => (process.platform === 'win32' ? modelId.replace(':', '@') : modelId)

/**
 * Where a model lies: the given folder or GGUF file, `MESHNET_HOME/models/<id>`, or among those that come with Mesh.
 * @throws MeshError `modelUnknown` | `modelNotDownloaded` | `modelTagUnknown` | those of `modelPlace` |
 * `usage` (an id that could lead elsewhere)
 */
export const resolveModel = (
  modelId: string,
  places: { readonly home: Home; readonly bundledFolder: string; readonly modelDir?: string },
): string => {
  if (places.modelDir !== undefined) {
    return modelPlace(resolve(places.modelDir))
  }
  if (!isModelId(modelId)) {
    throw new MeshError('usage', {
      problem: `${JSON.stringify(modelId.slice(0, 300))} is no model id; a folder is named with --model-dir`,
    })
  }
  const own = join(places.home.models, folderNameOf(modelId))
  const found = [own, join(places.bundledFolder, folderNameOf(modelId))].find(isFolder)
  if (found === undefined) throw unknownModel(modelId, own, modelsIn([places.home.models, places.bundledFolder]))
  return modelPlace(found)
}
