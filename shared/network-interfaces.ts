/**
 * The network interfaces of this machine, also while the process has no file descriptor left: the system needs one to
 * list them. libp2p asks from timers of its own, where an error ends the process.
 */
import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'
import { problemOf } from './errors.ts'
import type { Logger } from './log.ts'

type Interfaces = ReturnType<typeof os.networkInterfaces>

const exhausted = [/EMFILE/, /ENFILE/, /system error 2[34]\b/]

/** What a failure to list them means, for people. */
const meaningOf = (error: unknown): string => {
  const problem = problemOf(error)
  if (!exhausted.some((pattern) => pattern.test(problem))) return `the network interfaces cannot be listed: ${problem}`
  return (
    'out of file descriptors: new connections and files fail until some are closed; allow more (ulimit -n) ' +
    'and start again'
  )
}

let isKept = false

/** From now on `os.networkInterfaces` never throws: it gives what it found last, and the log says so once each time. */
export const keepInterfaces = (logger: Logger): void => {
  if (isKept) return
  isKept = true
  const ask = os.networkInterfaces
  let last: Interfaces = {}
  let failing = false
  os.networkInterfaces = () => {
    try {
      last = ask()
      failing = false
    } catch (error) {
      if (!failing) logger.warn({ problem: problemOf(error) }, meaningOf(error))
      failing = true
    }
    return last
  }
  syncBuiltinESMExports()
  os.networkInterfaces() // while there are descriptors
}
