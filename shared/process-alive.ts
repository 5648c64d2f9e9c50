/**
 * Whether a process runs, and whether it is the one that was meant: ids are given out again, soon after a reboot above
 * all.
 */
import { readFileSync } from 'node:fs'

/** True while a process of that id runs, ours or somebody else's. */
export const isProcessAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/**
 * Text that no other process of this machine has, before or after a reboot; `undefined` where the system does not tell.
 */
export const processMark = (pid: number): string | undefined => {
  try {
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    // behind the name in brackets, which may hold anything: state is field 3, the start in ticks since boot field 22
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
    return `${bootId}/${fields[22 - 3]}`
  } catch {
    return undefined
  }
}

/** True while that very process runs; by its id alone where it left no mark. */
export const isSameProcessAlive = ({ pid, mark }: { readonly pid: number; readonly mark?: string }): boolean =>
  isProcessAlive(pid) && (mark === undefined || mark === (processMark(pid) ?? mark))
