/** A Mesh program that is kept running: when it ends by itself it is started again, after a pause that grows. */
import { Backoff } from '../../shared/backoff.ts'
import type { Part } from '../../shared/lifecycle.ts'
import { formatDuration } from '../../shared/words.ts'
import { type ManagedProcess, type ManagedProcessOptions, startProcess } from './managed-process.ts'
import { lastWords } from './process-output.ts'
import { untilReady } from './until-ready.ts'

export interface SupervisedServiceOptions extends Omit<ManagedProcessOptions, 'args'> {
  /** @param ready what its first ready line said, on every start but the first: ports that were chosen stay the same */
  args(ready: Record<string, unknown> | undefined): readonly string[]
  /** Told of each end and each restart. */
  onEvent(text: string): void
}

/** Milliseconds that a program may need to start on a busy machine. */
const startMs = 30_000
const pauses = { firstMs: 500, longestMs: 30_000 }
/** A program that ran this long was well: the next pause is short again. */
const wellMs = 60_000

export class SupervisedService implements Part {
  readonly name: string
  readonly #options: SupervisedServiceOptions
  #process: ManagedProcess | undefined
  #ready: Record<string, unknown> | undefined
  readonly #backoff = new Backoff(pauses)
  #startedAt = 0
  #retry: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: SupervisedServiceOptions) {
    this.name = options.name
    this.#options = options
  }

  /** Process id; 0 while none runs. */
  get pid(): number {
    return this.#process?.running ? this.#process.pid : 0
  }

  /**
   * Starts it; from then on it is kept running.
   * @returns its ready line; @throws MeshError `processEnded` when it does not come up (it is then not tried again)
   */
  async start(): Promise<Record<string, unknown>> {
    const child = this.#spawn()
    try {
      this.#ready = await untilReady(child, startMs)
      this.#keep(child)
      return this.#ready
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#retry)
    await this.#process?.stop()
  }

  #spawn(): ManagedProcess {
    this.#startedAt = Date.now()
    this.#process = startProcess({ ...this.#options, args: this.#options.args(this.#ready) })
    return this.#process
  }

  #keep(child: ManagedProcess): void {
    void child.ended.then(({ how }) => {
      if (this.#stopped) return
      if (Date.now() - this.#startedAt > wellMs) this.#backoff.reset()
      const pauseMs = this.#backoff.fail()
      this.#options.onEvent(
        `${this.name} ended (${how}): ${lastWords(child.tail())}; starting it again in ${formatDuration(pauseMs)}`,
      )
      this.#retry = setTimeout(() => this.#restart(), pauseMs)
    })
  }

  #restart(): void {
    const child = this.#spawn()
    this.#keep(child)
    child.ready
      .then(() => this.#options.onEvent(`${this.name} runs again, process ${child.pid}`))
      .catch(() => undefined) // its end is told above
  }
}
