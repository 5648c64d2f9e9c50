/**
 * Finds processes that a run left behind: every process that the run starts inherits a variable with a random value,
 * also when its parent is gone.
 */
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'

export const runMark = 'MESH_TEST_RUN'

export interface Leftover {
  readonly pid: number
  readonly command: string
}

export const newRunId = (): string => randomBytes(8).toString('hex')

/** What the system tells of a process; nothing when it cannot. */
export const readProc = (pid: string | number, file: 'environ' | 'cmdline' | 'stat' | 'status'): string => {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch {
    return '' // ended meanwhile, or somebody else's
  }
}

/** Processes that carry the mark, without this one. Only Linux tells; elsewhere the list is empty. */
export const findLeftovers = (runId: string): Leftover[] => {
  if (process.platform !== 'linux') return []
  const wanted = `${runMark}=${runId}`
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => readProc(name, 'environ').split('\0').includes(wanted))
    .map((name) => ({ pid: Number(name), command: readProc(name, 'cmdline').replaceAll('\0', ' ').trim() }))
    .filter(({ command }) => command !== '') // already dead, not yet collected by its parent
}

/** Processes that one started, or those of them whose command line holds a text. Only Linux tells. */
export const childrenOf = (parent: number, text = ''): number[] =>
  readdirSync('/proc')
    .filter(
      (name) =>
        /^\d+$/.test(name) &&
        readProc(name, 'stat').split(') ')[1]?.split(' ')[1] === String(parent) &&
        readProc(name, 'cmdline').includes(text),
    )
    .map(Number)

export const endProcess = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it went by itself
  }
}
