/** Small files of a model folder, read whole and never without a limit. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { MeshError, problemOf, systemCodeOf } from '../../shared/errors.ts'
import { formatBytes } from '../../shared/words.ts'
import { contentBytes, foreignContent, missingFile } from './folder-diagnosis.ts'

/**
 * Files besides the weights that change what a model answers. All of them go into its revision, so that two devices
 * never serve together with, say, other chat templates.
 */
export const describingFiles = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
] as const
/** Says which file holds which tensor, and not what is in it. */
export const indexFile = 'model.safetensors.index.json'

/**
 * @throws MeshError `modelConfigInvalid` (larger than `limitBytes`) | `modelFileUnreadable` | those of `missingFile`
 * and `foreignContent`
 */
export const readModelFile = (folder: string, name: string, limitBytes: number): Buffer => {
  const file = join(folder, name)
  if (name !== indexFile && !describingFiles.some((known) => known === name))
    throw new Error(`${name} is read, but no part of the revision: add it to describingFiles`)
  try {
    const { size } = statSync(file)
    if (size > limitBytes)
      throw new MeshError('modelConfigInvalid', {
        file,
        problem: `it has ${formatBytes(size)}, ${formatBytes(limitBytes)} is the most`,
      })
    const bytes = readFileSync(file)
    const foreign = foreignContent(file, bytes.subarray(0, contentBytes))
    if (foreign) throw foreign
    return bytes
  } catch (error) {
    if (error instanceof MeshError) throw error
    if (['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '')) throw missingFile(folder, name, error)
    throw new MeshError('modelFileUnreadable', { file, problem: problemOf(error) }, error)
  }
}

/** The same, of a file that need not be there. @throws MeshError `modelConfigInvalid` | `modelFileUnreadable` */
export const readOptionalFile = (folder: string, name: string, limitBytes: number): Buffer | undefined =>
  existsSync(join(folder, name)) ? readModelFile(folder, name, limitBytes) : undefined
