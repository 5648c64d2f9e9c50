/** What is wrong with a place that was named as a model: the mistakes that people make, each with its own way out. */
import { existsSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import { MeshError } from '../../shared/errors.ts'
import { isFolder, namesIn } from '../../shared/lenient-files.ts'
import { ggufParts, isGguf } from './gguf/name.ts'
import { damagedFile } from './tensor-file.ts'

/** Weights in other formats, by the ending of their files. */
const otherFormats: Readonly<Record<string, string>> = {
  '.ggml': 'in a format of older llama.cpp',
  '.bin': 'in the PyTorch format',
  '.pt': 'in the PyTorch format',
  '.pth': 'in the PyTorch format',
  '.ckpt': 'a PyTorch checkpoint',
  '.h5': 'in the TensorFlow format',
  '.msgpack': 'in the Flax format',
  '.npz': 'in the NumPy format of MLX',
  '.onnx': 'in the ONNX format',
}

/** In the same order everywhere. */
const entriesOf = (folder: string): readonly string[] => namesIn(folder).toSorted()

const formatOf = (file: string): string | undefined => {
  const ending = extname(file).toLowerCase()
  return Object.hasOwn(otherFormats, ending) ? otherFormats[ending] : undefined
}

/** A folder inside with a config.json: that of a clone in a clone, or of the cache of Hugging Face. */
const innerModel = (folder: string): string | undefined => {
  const inside = [folder, join(folder, 'snapshots')].flatMap((parent) =>
    entriesOf(parent).map((entry) => join(parent, entry)),
  )
  return inside.find((path) => isFolder(path) && existsSync(join(path, 'config.json')))
}

/** Why a file that a model needs is not in its folder. */
export const missingFile = (folder: string, file: string, cause?: unknown): MeshError => {
  const entries = entriesOf(folder)
  const inner = file === 'config.json' ? innerModel(folder) : undefined
  if (inner !== undefined) return new MeshError('modelElsewhere', { folder, inner }, cause)
  const hasSafetensors = entries.some((entry) => entry.endsWith('.safetensors'))
  const other = entries.find((entry) => formatOf(entry) !== undefined)
  if (!hasSafetensors && other !== undefined) {
    return new MeshError('modelFormatUnsupported', { file: join(folder, other), format: formatOf(other) ?? '' }, cause)
  }
  if (file === 'tokenizer.json' && entries.includes('tokenizer.model')) {
    return new MeshError('tokenizerFormatUnsupported', { folder }, cause)
  }
  // parts without the file that names them
  const wanted = file === 'model.safetensors' && hasSafetensors ? 'model.safetensors.index.json' : file
  return new MeshError('modelFileMissing', { file: wanted, folder }, cause)
}

/** A projector for images lies beside many models. */
const isProjector = (name: string): boolean => /mmproj/i.test(name)

/** GGUF models of a folder, each by its file or the first of its parts. */
const ggufModels = (folder: string): string[] => [
  ...new Set(
    entriesOf(folder)
      .filter((name) => isGguf(name) && !isProjector(name))
      .map((name) => ggufParts(join(folder, name))[0]),
  ),
]

/**
 * What is opened as a model where `path` is named: the folder itself, or the GGUF file that lies in it alone.
 * @throws MeshError `modelFolderMissing` | `modelFolderIsFile` | `modelFormatUnsupported` | `modelFilesSeveral`
 */
export const modelPlace = (path: string): string => {
  if (isFolder(path)) {
    const found = entriesOf(path).some((name) => name.endsWith('.safetensors')) ? [] : ggufModels(path)
    if (found.length > 1)
      throw new MeshError('modelFilesSeveral', {
        folder: path,
        files: found
          .slice(0, 10)
          .map((file) => basename(file))
          .join(', '),
        first: found[0],
      })
    return found[0] ?? path
  }
  if (!existsSync(path)) throw new MeshError('modelFolderMissing', { folder: path })
  if (isGguf(path)) return path
  const format = formatOf(path)
  if (format !== undefined) throw new MeshError('modelFormatUnsupported', { file: path, format })
  throw new MeshError('modelFolderIsFile', { file: path, folder: dirname(path) })
}

/** Bytes at the start of a file that `foreignContent` looks at. */
export const contentBytes = 64

/** What stands in place of the file that a model needs, by its first bytes. */
export const foreignContent = (file: string, start: Buffer): MeshError | undefined => {
  const text = start.toString('latin1').trimStart().toLowerCase()
  if (text.startsWith('version https://git-lfs.github.com/'))
    return new MeshError('gitLfsPointer', { file, folder: dirname(file) })
  if (/^<(?:!doctype|html|\?xml)/.test(text)) return damagedFile(file, 'it is a web page in place of the file')
  if (text.startsWith('gguf'))
    return new MeshError('modelFormatUnsupported', { file, format: 'a GGUF file under another name' })
  return text.startsWith('pk\u0003\u0004')
    ? new MeshError('modelFormatUnsupported', { file, format: otherFormats['.bin'] })
    : undefined
}

/** Why a model is not here, by what its name looks like. @param known names of the models that are here */
export const unknownModel = (modelId: string, folder: string, known: readonly string[]): MeshError => {
  if (/^[\w.-]+\/[\w.-]+$/.test(modelId)) return new MeshError('modelNotDownloaded', { modelId, folder })
  if (/^[\w./-]+:[\w.-]+$/.test(modelId)) return new MeshError('modelTagUnknown', { modelId })
  return new MeshError('modelUnknown', { modelId, folder, ...(known.length === 0 ? {} : { known: known.join(', ') }) })
}

/** What has a config.json, or weights in GGUF. */
const isModel = (folder: string): boolean => existsSync(join(folder, 'config.json')) || ggufModels(folder).length > 0

/** Names of models in these folders, one level down or as `owner/name`. */
export const modelsIn = (folders: readonly string[]): string[] => {
  const found = folders.flatMap((folder) =>
    entriesOf(folder).flatMap((name) => {
      if (name.startsWith('.')) return [] // what is being fetched
      const path = join(folder, name)
      if (isModel(path)) return [name]
      return entriesOf(path)
        .filter((inner) => isModel(join(path, inner)))
        .map((inner) => `${basename(path)}/${inner}`)
    }),
  )
  return [...new Set(found)].toSorted()
}
