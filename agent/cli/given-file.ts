/** Files that a command line names: what is wrong with one is a matter of the option, not of our own state. */
import { readFileSync } from 'node:fs'
import { MeshError, problemOf, systemCodeOf } from '../../shared/errors.ts'

/** Why a file that an option names could not be read: `fileMissing` or `fileUnreadable`. */
export const givenFileError = (error: unknown, file: string, flag: `--${string}`): MeshError => {
  const isMissing = ['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '')
  return isMissing
    ? new MeshError('fileMissing', { file, flag }, error)
    : new MeshError('fileUnreadable', { file, flag, problem: problemOf(error) }, error)
}

/** @param flag the option that names it @throws MeshError `fileMissing` | `fileUnreadable` */
export const readGivenFile = (file: string, flag: `--${string}`): string => {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw givenFileError(error, file, flag)
  }
}
