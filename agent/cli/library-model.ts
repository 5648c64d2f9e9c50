/** The model of the library that a command names. */
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import { findEntry, type LibraryEntry, readLibrary } from '../library/library.ts'

/** @throws MeshError `modelNotInLibrary` | `stateUnreadable` */
export const libraryModel = (home: Home, name: string): LibraryEntry => {
  const found = findEntry(home, name)
  if (found) return found
  const known = readLibrary(home).entries.map((entry) => entry.name)
  throw new MeshError('modelNotInLibrary', { name, ...(known.length === 0 ? {} : { known: known.join(', ') }) })
}
