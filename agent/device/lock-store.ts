/**
 * The memory lock on disk: one file per statement, named by its number and made by a link that fails when it exists.
 * So of two commands at the same moment one is first and the other sees it, without a lock file that a killed process
 * would leave behind; and a kill at any point leaves the statement before or the one after. The countdown that the
 * agent writes down every minute is a file of its own, so that it never overwrites a statement.
 */
import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Type } from 'typebox'
import { MeshError, problemOf, systemCodeOf } from '../../shared/errors.ts'
import { createState, type Home, writeState, writeStateJson } from '../../shared/home.ts'
import { signCommitment, verifyCommitment } from '../../shared/identity/lock-statement.ts'
import { LockText } from '../../shared/schema/lock.ts'
import { readChecked } from './checked-state.ts'
import type { LocalDevice } from './device.ts'
import { type ClockReading, Countdown, startCountdown } from './elapsed.ts'
import type { ResourceLock } from './resource-lock.ts'

const LockFile = Type.Object({ statement: LockText, countdown: Type.Optional(Countdown) })
const CountdownFile = Type.Object({ sequence: Type.Integer({ minimum: 1 }), countdown: Countdown })

/** A lock with the statement that proves it. */
export interface StoredLock extends ResourceLock {
  readonly statement: string
}

/** Temporary files of killed processes are removed after this time; a living one needs milliseconds. */
const abandonedMs = 60_000

const fileOf = (home: Home, sequence: number): string =>
  join(home.locks.folder, `${String(sequence).padStart(10, '0')}.json`)

const namesIn = (folder: string): string[] => {
  try {
    return readdirSync(folder)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return []
    throw new MeshError('stateUnreadable', { file: folder, problem: problemOf(error) }, error)
  }
}

const sequences = (home: Home): number[] =>
  namesIn(home.locks.folder)
    .map((name) => /^(\d{10})\.json$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .toSorted((a, b) => a - b)

const withNewerCountdown = (home: Home, stored: StoredLock): StoredLock => {
  if (stored.countdown === undefined) return stored
  const written = readChecked(home.locks.countdown, CountdownFile)
  return written?.sequence === stored.commitment.sequence ? { ...stored, countdown: written.countdown } : stored
}

/**
 * The newest lock, or `undefined` when there never was one.
 * @throws MeshError `stateUnreadable` (also for a statement that this device did not sign)
 */
export const loadLock = (home: Home, device: LocalDevice): StoredLock | undefined => {
  for (;;) {
    const newest = sequences(home).at(-1)
    if (newest === undefined) return undefined
    const file = fileOf(home, newest)
    const content = readChecked(file, LockFile)
    if (content === undefined) continue // a newer one came meanwhile and this one was cleared away
    let commitment
    try {
      commitment = verifyCommitment(content.statement, device.key.publicKey)
    } catch (error) {
      throw new MeshError('stateUnreadable', { file, problem: problemOf(error) }, error)
    }
    if (commitment.sequence !== newest)
      throw new MeshError('stateUnreadable', { file, problem: `it holds statement ${commitment.sequence}` })
    return withNewerCountdown(home, { ...content, commitment })
  }
}

const textOf = (statement: string, countdown: Countdown | undefined): string =>
  `${JSON.stringify({ statement, countdown }, null, 2)}\n`

const clearOlder = (home: Home, sequence: number): void => {
  for (const older of sequences(home)) if (older < sequence) rmSync(fileOf(home, older), { force: true })
  for (const name of namesIn(home.locks.folder)) {
    const file = join(home.locks.folder, name)
    if (
      name.endsWith('.tmp') &&
      Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()) > abandonedMs
    )
      rmSync(file, { force: true })
  }
}

/** Signs a lock and stores it. @returns `undefined` when another process was first: look again and decide anew */
export const saveLock = (
  home: Home,
  device: LocalDevice,
  { commitment, countdown }: ResourceLock,
): StoredLock | undefined => {
  const statement = signCommitment(device.key, commitment)
  if (!createState(fileOf(home, commitment.sequence), textOf(statement, countdown))) return undefined
  clearOlder(home, commitment.sequence)
  return { statement, commitment, countdown }
}

/**
 * Takes over a statement of this device that the control plane knows and this home does not: it was restored from an
 * older copy. A cooldown in it starts anew, because nobody knows how much of it passed.
 */
export const adoptLock = (home: Home, device: LocalDevice, statement: string, now: ClockReading): StoredLock => {
  const commitment = verifyCommitment(statement, device.key.publicKey)
  const countdown = commitment.phase === 'cooling' ? startCountdown(commitment.cooldownMs, now) : undefined
  writeState(fileOf(home, commitment.sequence), textOf(statement, countdown))
  clearOlder(home, commitment.sequence)
  return { statement, commitment, countdown }
}

/** Writes down how far a cooldown is. @throws MeshError `stateUnwritable` */
export const saveCountdown = (home: Home, { commitment, countdown }: ResourceLock): void => {
  if (countdown !== undefined) writeStateJson(home.locks.countdown, { sequence: commitment.sequence, countdown })
}

/**
 * Decides on the newest lock and stores the outcome, anew when another process was first.
 * @returns the lock that holds, and the one before
 */
export const changeLock = (
  home: Home,
  device: LocalDevice,
  decide: (before: StoredLock | undefined) => ResourceLock | undefined,
): { readonly before: StoredLock | undefined; readonly after: StoredLock | undefined } => {
  for (;;) {
    const before = loadLock(home, device)
    const wanted = decide(before)
    if (wanted === undefined || wanted === before) return { before, after: before }
    const after = saveLock(home, device, wanted)
    if (after !== undefined) return { before, after }
  }
}
