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

const childrenOf = (pid: string): string[] =>
  readdirSync('/proc').filter((name) => /^\d+$/.test(name) && read(name, 'stat').split(') ')[1]?.split(' ')[1] === pid)

/**
 * Memory that this process and its children hold: what is each one's own, and once what they share, namely the pages of
 * the files that both map (Node itself, 60 MB) and the memory through which they hand over.
 */
export const residentBytes = (): number => {
  const statuses = [self, ...childrenOf(self)].map((pid) => read(pid, 'status'))
  const kilobytes = (name: string): number[] =>
    statuses.map((status) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0))
  const own = kilobytes('RssAnon').reduce((sum, one) => sum + one, 0)
  return 1024 * (own + Math.max(...kilobytes('RssFile')) + Math.max(...kilobytes('RssShmem')))
}

/** Nanoseconds that all threads of a process have been on a core. */
const onCore = (pid: string): number => {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce(
      (sum, task) => sum + Number(read(pid, `task/${task}/schedstat`).split(' ')[0]),
      0,
    )
  } catch {
    return 0
  }
}

/** A meter from now on; each call tells what was used since it was made. */
export const cpuMeter = (): (() => CpuMs) => {
  const children = childrenOf(self)
  const now = (): CpuMs => ({
    agent: onCore(self) / 1e6,
    compute: children.reduce((sum, pid) => sum + onCore(pid), 0) / 1e6,
  })
  const start = now()
  return () => {
    const { agent, compute } = now()
    return { agent: agent - start.agent, compute: compute - start.compute }
  }
}
