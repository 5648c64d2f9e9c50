/** Who used the processors of this machine since the last look. */
import { availableParallelism } from 'node:os'
import { namesIn, textOf } from '../../shared/lenient-files.ts'
import type { ReadText } from './control-groups.ts'
import {
  parseBusySeconds,
  parseUsedSeconds,
  parseWaitedSeconds,
  readAllowedCpus,
  readCpuQuotas,
  readPhysicalCores,
} from './cpu-sources.ts'

/** Where the numbers come from; tests give recorded machines. */
export interface CpuSources {
  readonly read: ReadText
  /** Names in a folder; none when there is no such. */
  readonly names: (folder: string) => readonly string[]
  /** Milliseconds, monotonic. */
  readonly clock: () => number
  /** Hardware threads that this process may use. */
  readonly usable: () => number
}

export const systemSources: CpuSources = {
  read: textOf,
  names: namesIn,
  clock: () => performance.now(),
  usable: availableParallelism,
}

/** Physical cores that this process may use, whole or in parts. */
export interface Cores {
  readonly cores: number
  /** Processors it may run on; `undefined`: all, or it does not tell. */
  readonly cpus: readonly number[] | undefined
}

export const readCores = ({ read, usable }: CpuSources = systemSources): Cores => {
  const cpus = readAllowedCpus(read)
  return { cores: Math.max(1, Math.min(usable(), readPhysicalCores(read, cpus) ?? Infinity)), cpus }
}

/** Physical cores, or what control groups leave of them: threads of work that waits for nobody. */
export const usableCores = (sources: CpuSources = systemSources): number =>
  Math.max(1, Math.floor(Math.min(readCores(sources).cores, ...readCpuQuotas(sources.read).map(({ cores }) => cores))))

/** A control group with a quota. */
export interface GroupUse {
  readonly folder: string
  readonly cores: number
  /** Cores in use by all that is in it. */
  readonly busy: number | undefined
}

export interface ProcessUse {
  /** Cores in use. */
  readonly load: number
  /** Cores that its threads wanted and did not get. */
  readonly wait: number
}

/** Since the last look. Numbers are `undefined` where the system does not tell, and at the first look. */
export interface CpuUse {
  readonly busy: number | undefined
  readonly groups: readonly GroupUse[]
  /** `undefined`: seen for the first time. */
  readonly processes: ReadonlyMap<number, ProcessUse | undefined>
}

interface Reading {
  readonly at: number
  readonly busy: number | undefined
  readonly groups: ReadonlyMap<string, number | undefined>
  readonly processes: ReadonlyMap<number, { readonly used: number; readonly waited: number }>
}

export class CpuMeter {
  readonly #sources: CpuSources
  readonly #cpus: readonly number[] | undefined
  #last: Reading | undefined

  /** @param cpus processors that count; all when `undefined` */
  constructor(cpus: readonly number[] | undefined, sources: CpuSources = systemSources) {
    this.#cpus = cpus
    this.#sources = sources
  }

  /** Control groups with a quota that we are in. */
  groups(): string[] {
    return readCpuQuotas(this.#sources.read).map(({ folder }) => folder)
  }

  /** @param pids processes that are told apart */
  look(pids: readonly number[]): CpuUse {
    const { read, clock } = this.#sources
    const last = this.#last
    const quotas = readCpuQuotas(read)
    const now: Reading = {
      at: clock(),
      busy: parseBusySeconds(read('/proc/stat'), this.#cpus),
      groups: new Map(quotas.map(({ folder, usedSeconds }) => [folder, usedSeconds])),
      processes: new Map(pids.flatMap((pid) => this.#process(pid))),
    }
    this.#last = now
    const seconds = last === undefined ? 0 : (now.at - last.at) / 1000
    const rate = (after: number | undefined, before: number | undefined): number | undefined =>
      after === undefined || before === undefined || seconds <= 0 ? undefined : Math.max(0, after - before) / seconds
    const processes = [...now.processes].map(([pid, { used, waited }]): [number, ProcessUse | undefined] => {
      const before = last?.processes.get(pid)
      const load = rate(used, before?.used)
      return [pid, load === undefined ? undefined : { load, wait: rate(waited, before?.waited) ?? 0 }]
    })
    return {
      busy: rate(now.busy, last?.busy),
      groups: quotas.map(({ folder, cores, usedSeconds }) => ({
        folder,
        cores,
        busy: rate(usedSeconds, last?.groups.get(folder)),
      })),
      processes: new Map(processes),
    }
  }

  #process(pid: number): [number, { readonly used: number; readonly waited: number }][] {
    const { read, names } = this.#sources
    const used = parseUsedSeconds(read(`/proc/${pid}/stat`))
    if (used === undefined) return []
    // a thread that ended takes its waiting along: the sum falls, and counts as none
    const threads = names(`/proc/${pid}/task`)
    const waited = threads.reduce(
      (sum, thread) => sum + parseWaitedSeconds(read(`/proc/${pid}/task/${thread}/schedstat`)),
      0,
    )
    return [[pid, { used, waited }]]
  }
}
