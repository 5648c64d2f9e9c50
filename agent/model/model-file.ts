/** Small files of a model folder, read whole and never without a limit. */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { contentBytes, foreignContent, missingFile } from './folder-diagnosis.ts'

/** @throws MeshError `modelConfigInvalid` (larger than `limitBytes`) | `modelFileUnreadable` | those of `missingFile` and `foreignContent` */
export const readModelFile = (folder: string, name: string, limitBytes: number): Buffer => {
  const file = join(folder, name)
  try {
    const { size } = statSync(file)
    if (size > limitBytes) throw new MeshError('modelConfigInvalid', { file, problem: `${size} bytes, ${limitBytes} is the limit` })
    const bytes = readFileSync(file)
    const foreign = foreignContent(file, bytes.subarray(0, contentBytes))
    if (foreign) throw foreign
    return bytes
  } catch (error) {
    if (error instanceof MeshError) throw error
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) throw missingFile(folder, name, error)
    throw new MeshError('modelFileUnreadable', { file, problem: problemOf(error) }, error)
  }
}
