/** A model in GGUF, the format of llama.cpp: one file, or the parts that it was split into. */
import { existsSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { MeshError } from '../../../shared/errors.ts'
import { damagedFile, TensorFile, type TensorInfo, type TensorStore } from '../tensor-file.ts'
import { type GgufHeader, readGgufHeader } from './header.ts'
import type { GgufMetadata } from './metadata.ts'
import { fiveDigits, ggufParts } from './name.ts'

export interface GgufModel extends TensorStore {
  /** Of the first part: it says everything. */
  readonly metadata: GgufMetadata
}

/** What the header says of parts must be what the names say. */
const checkPart = (path: string, { metadata }: GgufHeader, index: number, count: number): void => {
  const own = metadata.count('split.count') ?? 0
  const isWhole = count === 1 && own <= 1
  if (isWhole) return
  if (count === 1)
    throw damagedFile(
      path,
      `it is one of ${own} parts: give it its name NAME-${fiveDigits(1)}-of-${fiveDigits(own)}.gguf back, ` +
        'beside the others',
    )
  const number = metadata.count('split.no')
  if (own !== count || number !== index)
    throw damagedFile(
      path,
      `by its name it is part ${index + 1} of ${count}, by its header part ${(number ?? 0) + 1} of ${own}`,
    )
}

const openPart = (path: string, files: TensorFile[], firstPath: string): GgufHeader => {
  if (!existsSync(path)) {
    if (path === firstPath && files.length === 0) throw new MeshError('modelFolderMissing', { folder: path })
    throw new MeshError('modelFileMissing', { file: basename(path), folder: dirname(path) })
  }
  const file = new TensorFile(path)
  files.push(file)
  return readGgufHeader(file)
}

/**
 * All tensors of a GGUF model.
 * @param path of its file, or of any of its parts
 * @throws MeshError `ggufInvalid` | `modelFileMissing` (a part) | `gitLfsPointer` | `modelFormatUnsupported`
 */
export const openGguf = (path: string): GgufModel => {
  const paths = ggufParts(path)
  const files: TensorFile[] = []
  const close = (): void => {
    for (const file of files) file.close()
  }
  try {
    const tensors = new Map<string, TensorInfo>()
    let metadata: GgufMetadata | undefined
    for (const [index, part] of paths.entries()) {
      const header = openPart(part, files, path)
      checkPart(part, header, index, paths.length)
      metadata ??= header.metadata
      for (const tensor of header.tensors) {
        if (tensors.has(tensor.name)) throw damagedFile(part, `${tensor.name} is in two parts`)
        tensors.set(tensor.name, tensor)
      }
    }
    const first = metadata as GgufMetadata
    const said = first.count('split.tensors.count') ?? tensors.size
    if (paths.length > 1 && said !== tensors.size)
      throw damagedFile(paths[0], `its parts hold ${tensors.size} tensors, it speaks of ${said}`)
    return { metadata: first, tensors, files, bytes: files.reduce((sum, { size }) => sum + size, 0), close }
  } catch (error) {
    close()
    throw error
  }
}
