/** The pools of the home, looked at again and again: commands of this device change them while the agent runs. */
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import type { Logger } from '../../shared/log.ts'
import { listPools, type LocalPool } from '../device/pools.ts'

export interface PoolWatchOptions {
  readonly home: Home
  readonly logger: Logger
  /** Milliseconds between two looks. */
  readonly everyMs?: number
}

/** May throw: the others are told all the same, and it is called again at the next look. */
export type PoolsSeen = (pools: readonly LocalPool[]) => void

/** How soon it is noticed that a command joined a pool, or wrote a certificate, a pin or a list of removals. */
const defaultEveryMs = 2000

export class PoolWatch {
  readonly name = 'pools'
  readonly #options: PoolWatchOptions
  readonly #timer: NodeJS.Timeout
  readonly #told: PoolsSeen[] = []
  /** What went wrong at the last look. */
  #problems: ReadonlySet<string> = new Set()

  constructor(options: PoolWatchOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.look(), options.everyMs ?? defaultEveryMs).unref()
  }

  /** Told at each look, in the order in which they came here. */
  onLook(told: PoolsSeen): void {
    this.#told.push(told)
  }

  /** As `onLook`, and told at once what is there now. */
  follow(told: PoolsSeen): void {
    this.#look([told])
    this.onLook(told)
  }

  /** Looks now, and tells everybody. Never throws: a full disk or a damaged file must not end the agent. */
  look(): void {
    this.#look(this.#told)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(audience: readonly PoolsSeen[]): void {
    const problems = new Set<string>()
    const attempt = <T>(work: () => T): T | undefined => {
      try {
        return work()
      } catch (error) {
        problems.add(MeshError.from(error).message)
        return undefined
      }
    }
    const pools = attempt(() => listPools(this.#options.home))
    if (pools !== undefined) for (const told of audience) attempt(() => told(pools))
    // once, not at every look
    for (const problem of problems) if (!this.#problems.has(problem)) this.#options.logger.warn(problem)
    this.#problems = problems
  }
}
