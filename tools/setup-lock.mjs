/**
 * One set-up of a folder at a time, also where the last one was killed. Plain JavaScript for Node 18, as `setup.mjs`.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** The holder refreshes its lock every second; after this long without it, it is gone (or the machine restarted). */
const staleLockMs = 20_000

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const readLock = (lockFile) => {
  try {
    return { pid: Number(readFileSync(lockFile, 'utf8')), ageMs: Date.now() - statSync(lockFile).mtimeMs }
  } catch {
    return undefined
  }
}

const isAlive = (pid) => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

/**
 * Takes the lock, waiting for another set-up of the same folder.
 * @param say tells people that it waits
 * @returns a function that gives it back
 */
export const takeLock = async (lockFile, say) => {
  mkdirSync(dirname(lockFile), { recursive: true })
  let told = false
  for (;;) {
    try {
      writeFileSync(lockFile, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    const held = readLock(lockFile)
    if (held && (held.ageMs > staleLockMs || (held.pid > 0 && !isAlive(held.pid)))) {
      discardLock(lockFile, held.pid)
      continue
    }
    if (!told) say(`waiting for another set-up of this folder${held?.pid ? ` (process ${held.pid})` : ''} ...`)
    told = true
    await pause(200)
  }
  const refresh = setInterval(() => {
    const now = new Date()
    try {
      utimesSync(lockFile, now, now)
    } catch {
      // taken away by hand: the stamp still decides what is installed
    }
  }, 1000)
  return () => {
    clearInterval(refresh)
    rmSync(lockFile, { force: true })
  }
}

/**
 * Removes the lock of a dead process; by rename, so that of two that try only one does, and a fresh lock is put back.
 */
const discardLock = (lockFile, pid) => {
  const aside = `${lockFile}.${process.pid}`
  try {
    renameSync(lockFile, aside)
    if (Number(readFileSync(aside, 'utf8')) !== pid) renameSync(aside, lockFile)
  } catch {
    // another process was faster
  }
  rmSync(aside, { force: true })
}
