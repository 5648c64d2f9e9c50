/** Notices that a full disk has room again. */
import { statfsSync } from 'node:fs'

/** How often it looks. */
const everyMs = 5000
/** What counts as room: less than that comes and goes by itself. */
const leastBytes = 2 ** 20

/** @returns bytes; 0 where nobody can tell */
const freeIn = (folder: string): number => {
  try {
    const { bavail, bsize } = statfsSync(folder)
    return bavail * bsize
  } catch {
    return 0
  }
}

/**
 * Calls back once, when the disk of that folder has more room than now.
 * @returns a function that ends it
 */
export const onMoreRoom = (folder: string, then: () => void, intervalMs = everyMs): (() => void) => {
  const before = freeIn(folder)
  const timer = setInterval(() => {
    if (freeIn(folder) - before < leastBytes) return
    clearInterval(timer)
    then()
  }, intervalMs).unref()
  return () => clearInterval(timer)
}
