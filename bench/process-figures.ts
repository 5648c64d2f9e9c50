/** Memory and processor time of this process and its children (the compute process of ggml), from /proc. */
import { readdirSync, readFileSync } from 'node:fs'

/** Milliseconds on a core: in this process, and in its children. */
export interface CpuMs {
  readonly agent: number
  readonly compute: number
}

/** Empty when there is no such file any more. */
const read = (pid: string, file: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return ''
  }
}

const self = String(process.pid)

const childrenOf = (pid: string): string[] => readdirSync('/proc').filter((name) => /^\d+$/.test(name) && read(name, 'stat').split(') ')[1]?.split(' ')[1] === pid)

export const residentBytes = (): number =>
  [self, ...childrenOf(self)].reduce((sum, pid) => sum + 1024 * Number(/VmRSS:\s+(\d+)/.exec(read(pid, 'status'))?.[1] ?? 0), 0)

/** Nanoseconds that all threads of a process have been on a core. */
const onCore = (pid: string): number => {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce((sum, task) => sum + Number(read(pid, `task/${task}/schedstat`).split(' ')[0]), 0)
  } catch {
    return 0
  }
}

/** A meter from now on; each call tells what was used since it was made. */
export const cpuMeter = (): (() => CpuMs) => {
  const children = childrenOf(self)
  const now = (): CpuMs => ({ agent: onCore(self) / 1e6, compute: children.reduce((sum, pid) => sum + onCore(pid), 0) / 1e6 })
  const start = now()
  return () => {
    const { agent, compute } = now()
    return { agent: agent - start.agent, compute: compute - start.compute }
  }
}
