/** The SQLite database: opened, migrated, closed. */
import { chmodSync, closeSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { type BetterSQLite3Database, drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { makeFolder } from '../../shared/make-folder.ts'
import { systemFailureOf } from '../../shared/system-failure.ts'

export type Store = BetterSQLite3Database
export type Transaction = Parameters<Parameters<Store['transaction']>[0]>[0]

export interface OpenDatabase {
  readonly store: Store
  /**
   * Rewrites the file once, after older versions wrote text plainly into it: what they deleted is still in its unused
   * parts. @returns false where the file is too large for that while others wait: then the next start does it
   */
  clean(): boolean
  /** Empties the log of writes: what it held is in the file, and what was written over is nowhere any more. */
  truncateLog(): void
  /** Writes, and changes nothing: tells whether anything can be written. @throws what SQLite says */
  probe(): void
  close(): void
}

const migrationsFolder = fileURLToPath(new URL('./migrations', import.meta.url))

/**
 * Prompts, answers and what members own are for the account that runs the control plane, also in an ordinary folder.
 * SQLite gives its other files the permissions of the first.
 */
const makePrivate = (file: string): void => {
  closeSync(openSync(file, 'a', 0o600))
  for (const path of [file, `${file}-wal`, `${file}-shm`]) {
    try {
      chmodSync(path, 0o600)
    } catch {
      // not there, or of another account, which then decides who reads it
    }
  }
}

/** Says that nothing plain is left in unused parts of the file. */
const cleanMark = 1
/** Bytes of a file that is rewritten within a few seconds. */
const quicklyRewritten = 2 ** 30

const numberOf = (connection: Database.Database, pragma: string): number =>
  Number(connection.pragma(pragma, { simple: true }))

const truncate = (connection: Database.Database): void => void connection.pragma('wal_checkpoint(TRUNCATE)')

const cleanNow = (connection: Database.Database): void => {
  if (numberOf(connection, 'application_id') === cleanMark) return
  connection.exec('VACUUM')
  connection.pragma(`application_id = ${cleanMark}`)
  truncate(connection)
}

/** A file in which nothing plain is left but that was not rewritten yet. It is no reason not to start: there may be no room. */
const cleanAtStart = (connection: Database.Database): void => {
  if (connection.prepare('select 1 from jobs where text_form = 0 limit 1').get() !== undefined) return
  try {
    cleanNow(connection)
  } catch {
    // the next start
  }
}

/** Opens the file, making it if needed, and brings its schema up to date. @throws MeshError `stateUnreadable` | `diskFull` */
export const openDatabase = (file: string): OpenDatabase => {
  let connection: Database.Database | undefined
  try {
    makeFolder(dirname(file), 0o700)
    makePrivate(file)
    connection = new Database(file, { timeout: 5000 })
    connection.pragma('journal_mode = WAL')
    // In WAL mode NORMAL survives a crash of the process; only a power cut can lose the last moments, never consistency.
    connection.pragma('synchronous = NORMAL')
    connection.pragma('secure_delete = ON') // what is deleted or written over is zeroed, not only unlinked
    connection.pragma('foreign_keys = ON')
    connection.pragma('temp_store = MEMORY') // what is read must not depend on room for temporary files
    if (numberOf(connection, 'page_count') <= 1) connection.pragma(`application_id = ${cleanMark}`) // new
    const store = drizzle(connection)
    migrate(store, { migrationsFolder })
    cleanAtStart(connection)
    const open = connection
    // the number has no meaning, and SQLite writes it again even where it stays as it was
    const clean = (): boolean => {
      const isLarge = numberOf(open, 'page_count') * numberOf(open, 'page_size') > quicklyRewritten
      if (!isLarge) cleanNow(open)
      return !isLarge || numberOf(open, 'application_id') === cleanMark
    }
    return {
      store,
      clean,
      truncateLog: () => truncate(open),
      probe: () => void open.pragma('user_version = 0'),
      close: () => open.close(),
    }
  } catch (error) {
    connection?.close()
    if (systemFailureOf(error)?.code === 'storageFull')
      throw new MeshError('diskFull', { file, need: 'more room is' }, error)
    throw new MeshError('stateUnreadable', { file, problem: problemOf(error) }, error)
  }
}
