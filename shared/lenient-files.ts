/** Looks at files that may be missing, or that this user may not read: either means that there is nothing to see. */
import { readdirSync, readFileSync, statSync } from 'node:fs'

/** What a file says; `undefined` where there is none or it may not be read. */
export const textOf = (file: string): string | undefined => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** Names in a folder; none where there is no such, or it may not be listed. */
export const namesIn = (folder: string): string[] => {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

export const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
