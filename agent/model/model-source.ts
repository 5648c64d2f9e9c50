/**
 * A model as it lies on disk, in whatever format: a folder of safetensors, or a GGUF file. What it computes and its
 * canonical tensors, for whoever loads it; nothing of the weights is read when it is opened.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { MeshError } from '../../shared/errors.ts'
import { bindGguf, bindSafetensors, textName } from './architecture/bind.ts'
import type { Family } from './architecture/family.ts'
import type { ModelSpec } from './architecture/model-spec.ts'
import { readGgufSpec } from './architecture/read-gguf-spec.ts'
import { readSpec } from './architecture/read-spec.ts'
import type { RoleTensors } from './architecture/role-tensors.ts'
import type { RoleTensor, Roles, StoredTensor } from './architecture/tensor-roles.ts'
import { metadataDigest } from './gguf/describe.ts'
import { openGguf } from './gguf/gguf.ts'
import { isGguf } from './gguf/name.ts'
import { isJson, type Json } from './json.ts'
import { describingFiles, readModelFile } from './model-file.ts'
import { checkedTensor } from './pieces.ts'
import { readAnyQuantization, readElsewhere } from './quantized/quantization-config.ts'
import { openTensors } from './safetensors.ts'
import { type StoredParts, storedParts } from './stored-tensors.ts'
import type { TensorFile, TensorInfo, TensorStore } from './tensor-file.ts'

export interface ModelSource {
  /** The folder, or the GGUF file. */
  readonly path: string
  readonly spec: ModelSpec
  /** Content of config.json, or of its `text_config`; absent for GGUF. */
  readonly config?: Json
  /** Of weights; open. */
  readonly files: readonly TensorFile[]
  /** Of all files of weights together. */
  readonly bytes: number
  /** Special tokens that a GGUF file names; those of a folder stand in its config.json. */
  readonly tokens?: { readonly begin: number | undefined; readonly ends: readonly number[] }
  /** Tensors of the files that canonical ones are made of: those that identify the model. */
  readonly used: readonly TensorInfo[]
  /** Those of them that one canonical tensor is made of. */
  partsOf(role: string): readonly TensorInfo[]
  /**
   * Canonical tensors.
   * @param digests of the pieces of each tensor of `used`: whatever is read is compared with them
   */
  roles(digests?: ReadonlyMap<string, Uint8Array>): Roles
  /** A line for each thing beside the weights that changes what the model answers. */
  describe(): string[]
  close(): void
}

/** Bytes of config.json; real ones have about a thousand. */
const configBytes = 2 ** 20
/** Bytes of any file that describes the model; the largest vocabularies need about 30 MB. */
const describingBytes = 256 * 2 ** 20

interface Opened {
  readonly path: string
  readonly store: TensorStore
  readonly family: Family
  readonly spec: ModelSpec
  readonly config?: Json
  readonly tokens?: ModelSource['tokens']
  readonly parts: ReadonlyMap<string, StoredParts>
  readonly bind: typeof bindGguf
  /** Name of a tensor of the file as roles call it. */
  readonly nameOf: (name: string) => string
  describe(): string[]
}

const sourceOf = ({
  path,
  store,
  family,
  spec,
  config,
  tokens,
  parts,
  bind,
  nameOf,
  describe,
}: Opened): ModelSource => {
  const bound = (open: (tensor: TensorInfo) => TensorInfo): RoleTensors => {
    const tensors = new Map(
      [...parts].map(([name, one]): [string, StoredTensor] => [name, opened(one, one.parts.map(open))]),
    )
    return bind({ family, spec, tensors, folder: path })
  }
  const plain = bound((tensor) => tensor)
  const byName = new Map([...parts].map(([name, one]) => [nameOf(name), one.parts]))
  const partsOf = ({ sources }: RoleTensor): TensorInfo[] => sources.flatMap((name) => byName.get(name) ?? [])
  const rolesOf = ({ roles }: RoleTensors): Roles => ({
    role: (name) => {
      const found = roles.get(name === 'head' && spec.tied ? 'embedding' : name)
      if (!found) throw new MeshError('tensorMissing', { tensor: name, folder: path })
      return { ...found, file: partsOf(found)[0]?.file.path }
    },
  })
  const unchecked = rolesOf(plain)
  return {
    path,
    spec,
    ...(config ? { config } : {}),
    ...(tokens ? { tokens } : {}),
    files: store.files,
    bytes: store.bytes,
    used: [...new Set([...plain.roles.values()].flatMap(partsOf))],
    partsOf: (role) => partsOf(unchecked.role(role)),
    describe,
    close: () => store.close(),
    roles: (digests) => (digests ? rolesOf(bound((tensor) => checked(tensor, digests))) : unchecked),
  }
}

/** One of a type that is not read is refused when a role wants it: towers for images may be of any type. */
const opened = (stored: StoredParts, parts: readonly TensorInfo[]): StoredTensor => {
  try {
    return stored.open(parts)
  } catch (error) {
    if (!(error instanceof MeshError) || error.code !== 'dtypeUnsupported') throw error
    const [{ name, dims }] = parts
    const refuse = (): never => {
      throw error
    }
    return {
      name,
      dims,
      get type() {
        return refuse()
      },
      readRows: refuse,
      readBytes: refuse,
    }
  }
}

/** Tensors without hashes are used by no role: they are opened and never read. */
const checked = (tensor: TensorInfo, digests: ReadonlyMap<string, Uint8Array>): TensorInfo => {
  const own = digests.get(tensor.name)
  return own ? checkedTensor(tensor, own) : tensor
}

const openedFolder = (folder: string): Opened => {
  const file = join(folder, 'config.json')
  const config = readConfigJson(file, folder)
  const quantization = readAnyQuantization(file, config)
  const { spec, family, text } = readSpec(config, { file, ...(quantization ? { quantization: readElsewhere } : {}) })
  const store = openTensors(folder)
  try {
    const parts = storedParts(store.tensors, quantization)
    const describe = (): string[] => describingFiles.map((name) => `${name} ${fileDigest(folder, name)}`)
    const nameOf = family.wrappers ? textName : (name: string): string => name
    return { path: folder, store, family, spec, config: text, parts, bind: bindSafetensors, nameOf, describe }
  } catch (error) {
    store.close()
    throw error
  }
}

const readConfigJson = (file: string, folder: string): Json => {
  let config: unknown
  try {
    config = JSON.parse(readModelFile(folder, 'config.json', configBytes).toString('utf8'))
  } catch (error) {
    if (error instanceof MeshError) throw error
    throw new MeshError('modelConfigInvalid', { file, problem: (error as Error).message }, error)
  }
  if (isJson(config)) return config
  throw new MeshError('modelConfigInvalid', { file, problem: 'it is not an object' })
}

const fileDigest = (folder: string, name: (typeof describingFiles)[number]): string =>
  existsSync(join(folder, name))
    ? createHash('sha256')
        .update(readModelFile(folder, name, describingBytes))
        .digest('hex')
    : '-'

const openedGguf = (path: string): Opened => {
  const store = openGguf(path)
  try {
    const { metadata } = store
    const [{ path: file }] = store.files
    const kind = metadata.text('general.type') ?? 'model'
    if (kind !== 'model')
      throw new MeshError('modelConfigInvalid', { file, problem: `general.type is ${kind}: it is no whole model` })
    const parts = storedParts(store.tensors)
    const tensors = new Map([...parts].map(([name, one]): [string, StoredTensor] => [name, opened(one, one.parts)]))
    const { spec, family } = readGgufSpec({ file, metadata, tensors })
    const described = [`metadata ${metadataDigest(metadata)}`]
    const end = metadata.count('tokenizer.ggml.eos_token_id')
    return {
      path,
      store,
      family,
      spec,
      parts,
      tokens: { begin: metadata.count('tokenizer.ggml.bos_token_id'), ends: end === undefined ? [] : [end] },
      bind: bindGguf,
      nameOf: (name) => name,
      describe: () => described,
    }
  } catch (error) {
    store.close()
    throw error
  }
}

/**
 * Opens a folder of safetensors or a GGUF file (or any part of one). Close it when done.
 * @throws MeshError of what is missing, damaged or not supported
 */
export const openSource = (path: string): ModelSource => {
  const found = isGguf(path) ? openedGguf(path) : openedFolder(path)
  try {
    return sourceOf(found)
  } catch (error) {
    found.store.close()
    throw error
  }
}
