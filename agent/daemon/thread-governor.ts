/**
 * Keeps the threads of this agent's compute units at the cores that are free: of other units on this machine, of its
 * owner's work, of quotas. Looks twice a second while a unit works. What is decided, and why: `device/free-cores.ts`.
 */
import type { Logger } from '../../shared/log.ts'
import { type ComputeUnit, ComputeUnits } from '../device/compute-units.ts'
import {
  type Cores,
  CpuMeter,
  type CpuSources,
  type CpuUse,
  readCores,
  systemSources,
  usableCores,
} from '../device/cpu-meter.ts'
import { type CoreBound, ThreadChoice } from '../device/free-cores.ts'

/** Milliseconds between looks, while a unit works and while none does. */
const busyMs = 500
const idleMs = 1000
/** Cores in use by our units above which one works. */
const workingLoad = 0.05

/** What computes for one rank. */
export interface GovernedBackend {
  /** The process that computes; another one after it died. */
  readonly pid: number
  /** Its threads stay those that it was loaded with. */
  readonly hasFixedThreads: boolean
  /** Threads from the next command on. */
  useThreads(count: number): Promise<void>
}

export interface ThreadGovernorOptions {
  /** Threads that were asked for; 0: as many as there are free cores. */
  readonly threads: number
  readonly logger: Logger
  readonly units?: ComputeUnits
  readonly sources?: CpuSources
}

interface Governed {
  readonly backend: GovernedBackend
  /** Threads that others shall leave room for. */
  readonly wanted: number
  /** Absent where the threads stay as they are. */
  readonly choice: ThreadChoice | undefined
  threads: number
  /** As it was told to the others. */
  pid: number
}

export class ThreadGovernor {
  readonly #fixed: number
  readonly #logger: Logger
  readonly #units: ComputeUnits
  readonly #sources: CpuSources
  readonly #cores: Cores
  readonly #meter: CpuMeter
  readonly #governed = new Set<Governed>()
  #timer: NodeJS.Timeout | undefined
  #problem: string | undefined

  constructor({ threads, logger, units = new ComputeUnits(), sources = systemSources }: ThreadGovernorOptions) {
    this.#fixed = threads
    this.#logger = logger
    this.#units = units
    this.#sources = sources
    this.#cores = readCores(sources)
    this.#meter = new CpuMeter(this.#cores.cpus, sources)
  }

  /** Threads for work whose parts wait for nobody. */
  get workers(): number {
    return this.#fixed || usableCores(this.#sources)
  }

  /** For a unit that is about to load. @param wanted threads that it has work for */
  threadsFor(wanted: number): number {
    if (this.#fixed > 0) return this.#fixed
    // nothing is measured yet: the shard was cut by this agent a moment ago, so all the machine may have been busy
    const use: CpuUse = { ...new CpuMeter(this.#cores.cpus, this.#sources).look([]), busy: undefined }
    return new ThreadChoice(wanted).update({
      now: this.#now(),
      bounds: this.#bounds(this.#units.list(), use, undefined),
    })
  }

  /** From now on. @returns a function that ends it */
  govern(backend: GovernedBackend, wanted: number, threads: number): () => void {
    const isFixed = this.#fixed > 0 || backend.hasFixedThreads
    const unit: Governed = {
      backend,
      wanted: isFixed ? threads : wanted,
      choice: isFixed ? undefined : new ThreadChoice(wanted),
      threads,
      pid: backend.pid,
    }
    this.#governed.add(unit)
    this.#look()
    return () => {
      this.#governed.delete(unit)
      this.#units.remove(unit.pid)
      if (this.#governed.size === 0) this.stop()
    }
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const { pid } of this.#governed) this.#units.remove(pid)
    this.#governed.clear()
  }

  #now(): number {
    return this.#sources.clock() / 1000
  }

  #look(): void {
    clearTimeout(this.#timer)
    const all = this.#tellOthers()
    let load = 0
    if (this.#fixed === 0) {
      const use = this.#meter.look([...new Set(all.flatMap(({ pid, agent }) => [pid, agent]))])
      for (const unit of this.#governed) {
        load += use.processes.get(unit.pid)?.load ?? 0
        this.#decide(unit, all, use)
      }
    }
    this.#timer = setTimeout(() => this.#look(), load > workingLoad ? busyMs : idleMs)
    this.#timer.unref()
  }

  /** Other agents are told of our units; one that died and was started again is another process. @returns all units */
  #tellOthers(): ComputeUnit[] {
    const listed = this.#units.list()
    const groups = this.#meter.groups()
    const { cpus } = this.#cores
    const own = new Map<number, ComputeUnit>()
    for (const unit of this.#governed) {
      const { pid } = unit.backend
      if (pid !== unit.pid) this.#units.remove(unit.pid)
      unit.pid = pid
      own.set(pid, { pid, agent: process.pid, wanted: unit.wanted, ...(cpus ? { cpus: [...cpus] } : {}), groups })
    }
    for (const unit of own.values()) if (listed.every(({ pid }) => pid !== unit.pid)) this.#warn(this.#units.add(unit))
    return [...own.values(), ...listed.filter(({ pid }) => !own.has(pid))]
  }

  /** Once for each reason. */
  #warn(problem: string | undefined): void {
    if (problem !== undefined && problem !== this.#problem)
      this.#logger.warn({ problem }, 'other agents of this machine cannot be told what computes here')
    this.#problem = problem
  }

  #decide(unit: Governed, all: readonly ComputeUnit[], use: CpuUse): void {
    if (!unit.choice) return
    const own = use.processes.get(unit.pid)
    const bounds = this.#bounds(all, use, unit.pid)
    const threads = unit.choice.update({ now: this.#now(), bounds, load: own?.load, wait: own?.wait })
    if (threads === unit.threads) return
    this.#logger.debug(
      { process: unit.pid, from: unit.threads, to: threads, bounds, own },
      'compute threads follow the free cores',
    )
    unit.threads = threads
    unit.backend.useThreads(threads).catch(() => {}) // a backend that is gone is told by whoever uses it
  }

  /** @param own unit that is not among the others */
  #bounds(all: readonly ComputeUnit[], { busy, groups, processes }: CpuUse, own: number | undefined): CoreBound[] {
    const { cores, cpus } = this.#cores
    const bound = (available: number, used: number | undefined, shares: (unit: ComputeUnit) => boolean): CoreBound => {
      const units = all.filter(shares)
      const pids = new Set(units.flatMap(({ pid, agent }) => [pid, agent]))
      const ours = [...pids].reduce((sum, pid) => sum + (processes.get(pid)?.load ?? 0), 0)
      // what a process used that is seen for the first time cannot be told from what its owner did
      const isNew = [...pids].some((pid) => processes.has(pid) && processes.get(pid) === undefined)
      const others = units
        .filter(({ pid }) => pid !== own)
        .map(({ pid, wanted }) => ({ pid, wanted, load: processes.get(pid)?.load }))
      return { cores: available, foreign: isNew ? 0 : Math.max(0, (used ?? 0) - ours), others }
    }
    return [
      bound(cores, busy, (unit) => !cpus || !unit.cpus || unit.cpus.some((cpu) => cpus.includes(cpu))),
      ...groups.map((group) => bound(group.cores, group.busy, (unit) => unit.groups.includes(group.folder))),
    ]
  }
}
