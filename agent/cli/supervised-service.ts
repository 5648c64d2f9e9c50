/** A Mesh program that is kept running: when it ends by itself it is started again, after a pause that grows. */
import { MeshError } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import { formatDuration } from '../../shared/words.ts'
import { lastWords, type ManagedProcess, type ManagedProcessOptions, startProcess } from './managed-process.ts'

export interface SupervisedServiceOptions extends Omit<ManagedProcessOptions, 'args'> {
  /** @param ready what its first ready line said, on every start but the first: ports that were chosen stay the same */
  args(ready: Record<string, unknown> | undefined): readonly string[]
  /** Told of each end and each restart. */
  onEvent(text: string): void
}

/** Milliseconds that a program may need to start on a busy machine. */
const startMs = 30_000
const firstPauseMs = 500
const longestPauseMs = 30_000
/** A program that ran this long was well: the next pause is short again. */
const wellMs = 60_000

export class SupervisedService implements Part {
  readonly name: string
  readonly #options: SupervisedServiceOptions
  #process: ManagedProcess | undefined
  #ready: Record<string, unknown> | undefined
  #pauseMs = firstPauseMs
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
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(
      () =>
        late.reject(
          new MeshError('processEnded', {
            name: this.name,
            how: `not ready within ${formatDuration(startMs)}`,
            problem: lastWords(child.tail()),
          }),
        ),
      startMs,
    )
    try {
      this.#ready = await Promise.race([child.ready, late.promise])
      this.#keep(child)
      return this.#ready
    } catch (error) {
      await this.stop()
      throw error
    } finally {
      clearTimeout(timer)
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
      if (Date.now() - this.#startedAt > wellMs) this.#pauseMs = firstPauseMs
      this.#options.onEvent(
        `${this.name} ended (${how}): ${lastWords(child.tail())}; starting it again in ${formatDuration(this.#pauseMs)}`,
      )
      this.#retry = setTimeout(() => this.#restart(), this.#pauseMs)
      this.#pauseMs = Math.min(longestPauseMs, this.#pauseMs * 2)
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
