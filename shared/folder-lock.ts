/**
 * One process for one folder, held by the operating system: whatever ends the process, SIGKILL too, frees the lock.
 *
 * The lock is that of an SQLite file without content (fcntl on POSIX, LockFileEx on Windows), through the SQLite that
 * Node brings: no file is left behind that would have to be judged, and children do not inherit it. POSIX frees it
 * when the process closes any handle of that file, so nothing else may open it.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'
import { MeshError, problemOf } from './errors.ts'
import { makeFolder } from './make-folder.ts'
import { isProcessAlive } from './process-alive.ts'

export interface FolderLock {
  release(): void
}

const sqliteBusy = 5
/** What is collected is closed, and the lock with it. */
const held = new Set<DatabaseSync>()
/** Milliseconds that the holder may take from the lock to its process id, on a busy machine too. */
const noteMs = 3000
const retryMs = 50

const noteOf = (file: string): string => `${file}.pid`

/** @returns false when another connection holds it */
const isLocked = (connection: DatabaseSync): boolean => {
  try {
    // the journal in memory: a transaction that changes nothing then writes nothing, also on a full disk
    connection.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if (error instanceof Error && 'errcode' in error && error.errcode === sqliteBusy) return false
    throw error
  }
}

/**
 * Takes the lock, or says that another process has it. Never waits.
 * @param file made if needed; nobody else may open it
 * @throws MeshError `stateUnwritable` when the folder takes no locks
 */
export const takeLock = (file: string): FolderLock | undefined => {
  let connection: DatabaseSync | undefined
  try {
    makeFolder(dirname(file), 0o700)
    connection = new DatabaseSync(file, { timeout: 0 })
    if (!isLocked(connection)) {
      connection.close()
      return undefined
    }
  } catch (error) {
    connection?.close()
    throw new MeshError('stateUnwritable', { file, problem: problemOf(error) }, error)
  }
  const open = connection
  held.add(open)
  try {
    writeFileSync(noteOf(file), `${process.pid}\n`)
  } catch {
    // it serves messages only
  }
  return {
    release: () => {
      if (held.delete(open)) open.close()
    },
  }
}

/** Process id of who holds the lock; `undefined` where it did not write it down yet. */
export const holderOf = (file: string): number | undefined => {
  try {
    const pid = Number(readFileSync(noteOf(file), 'utf8'))
    return Number.isInteger(pid) && pid > 0 && isProcessAlive(pid) ? pid : undefined // else: of the holder before
  } catch {
    return undefined
  }
}

/**
 * Takes the lock, or tells who has it. Of several that try at once each may be refused because of the others, so it
 * is asked again while nobody is known to hold it.
 * @throws MeshError `stateUnwritable`
 */
export const lockOrHolder = async (file: string): Promise<FolderLock | { readonly pid: number | 'unknown' }> => {
  for (let waited = 0; ; waited += retryMs) {
    const lock = takeLock(file)
    if (lock) return lock
    const pid = holderOf(file)
    if (pid !== undefined || waited >= noteMs) return { pid: pid ?? 'unknown' }
    await pause(retryMs * (0.5 + Math.random()))
  }
}

/**
 * @param what the program that lives in that folder, for the message.
 * @throws MeshError `folderInUse` | `stateUnwritable`
 */
export const lockFolder = async (file: string, what: string): Promise<FolderLock> => {
  const found = await lockOrHolder(file)
  if ('release' in found) return found
  throw new MeshError('folderInUse', { what, folder: dirname(file), pid: found.pid })
}
