/** Folders, made with all that lead to them. */
import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { systemCodeOf } from './errors.ts'

/** @returns why the folder is not there now */
const attempt = (folder: string, mode: number): unknown => {
  try {
    mkdirSync(folder, { mode })
  } catch (error) {
    const isThere = statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true
    return isThere ? undefined : error
  }
  return undefined
}

/**
 * Makes a folder and those above it; one that is there stays as it is. Node's own way (`recursive`) tries for ever where
 * a parent is there and takes no folder, as in `/proc`.
 * @param mode of those that are made
 * @throws what the system says
 */
export const makeFolder = (folder: string, mode = 0o777): void => {
  const problem = attempt(folder, mode)
  if (problem === undefined) return
  if (systemCodeOf(problem) !== 'ENOENT' || dirname(folder) === folder) throw problem
  makeFolder(dirname(folder), mode)
  const again = attempt(folder, mode)
  if (again !== undefined) throw again
}
