/** Small files of a model folder, read whole and never without a limit. */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { MeshError, problemOf } from '../../shared/errors.ts'

/** @throws MeshError `modelFileMissing` | `modelConfigInvalid` (larger than `limitBytes`, or unreadable) */
export const readModelFile = (folder: string, name: string, limitBytes: number): Buffer => {
  const file = join(folder, name)
  try {
    const { size } = statSync(file)
    if (size > limitBytes) throw new MeshError('modelConfigInvalid', { file, problem: `${size} bytes, ${limitBytes} is the limit` })
    return readFileSync(file)
  } catch (error) {
    if (error instanceof MeshError) throw error
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) throw new MeshError('modelFileMissing', { file: name, folder }, error)
    throw new MeshError('modelConfigInvalid', { file, problem: problemOf(error) }, error)
  }
}
