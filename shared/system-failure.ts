/** What the operating system or SQLite says of a disk, as codes of the error table: it is no defect of Mesh. */

export interface SystemFailure {
  readonly code: 'diskFull' | 'storageFailed' | 'storageFull'
  readonly fields: Readonly<Record<string, string>>
}

/** Errors wrap errors: a library names what it did, and the system's word is the cause. */
const deepest = 5

/** SQLite is used by the control plane alone, so its failures are told as such. */
const brokenDatabase = /^SQLITE_(IOERR|READONLY|CANTOPEN|BUSY|LOCKED|CORRUPT|NOTADB|PERM|NOLFS)/

const failureFor = (error: Error): SystemFailure | undefined => {
  const { code, path } = error as { readonly code?: unknown; readonly path?: unknown }
  if (typeof code !== 'string') return undefined
  if (code === 'SQLITE_FULL') return { code: 'storageFull', fields: {} }
  if (brokenDatabase.test(code)) return { code: 'storageFailed', fields: { problem: `${error.message} (${code})` } }
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return undefined
  return { code: 'diskFull', fields: { file: typeof path === 'string' ? path : 'a file', need: 'more room is' } }
}

/** The code for a thrown value, or for what caused it; `undefined` when no disk has to do with it. */
export const systemFailureOf = (value: unknown): SystemFailure | undefined => {
  let error = value
  for (let depth = 0; error instanceof Error && depth < deepest; depth++) {
    const failure = failureFor(error)
    if (failure) return failure
    error = error.cause
  }
  return undefined
}
