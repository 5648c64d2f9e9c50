/**
 * A backend that computes elsewhere: in a thread (`onnx`) or a process (`ggml`). Keeps commands in order, and starts
 * the other side again after it died, so that a crash costs the step and not the agent.
 */
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Backend, Buffers, Span } from '../engine/backend.ts'
import { type Command, type Operation, operations } from './command.ts'
import { type LinkRequest, linkRequests } from '../links/link-requests.ts'

/** The other side, running. */
export interface Host {
  /** For the log: what computes. */
  readonly description: string
  /** The process that computes. */
  readonly pid: number
  /** Its threads stay those that it was loaded with. */
  readonly hasFixedThreads: boolean
  /** One command; rejects when it fails and when the other side dies. */
  call(command: Command): Promise<void>
  /** Buffers for that many rows, seen by both sides. */
  share(rows: number): Promise<Buffers>
  /** Where the other side can hold links to other ranks: a request about them, with its answer. */
  ask?(request: LinkRequest, body: unknown): Promise<unknown>
  /** The same without an answer; at once, also while something else runs. */
  tell?(request: LinkRequest, body: unknown): void
  /** True once the other side is gone. */
  readonly dead: boolean
  close(): Promise<void>
}

export type StartHost = () => Promise<Host>

export class HostedBackend implements Backend {
  readonly name: string
  readonly #start: StartHost
  #host: Host
  #rows = 0
  #buffers: Buffers | undefined
  /** What it was told since it was loaded. */
  #threads: number | undefined
  /** Sequences that the other side knows. */
  readonly #slots = new Set<number>()
  #last: Promise<unknown> = Promise.resolve()
  #closed = false

  private constructor(name: string, start: StartHost, host: Host) {
    this.name = name
    this.#start = start
    this.#host = host
  }

  /** @throws MeshError `backendFailed` */
  static async start(name: string, start: StartHost): Promise<HostedBackend> {
    try {
      return new HostedBackend(name, start, await start())
    } catch (error) {
      throw error instanceof MeshError
        ? error
        : new MeshError('backendFailed', { backend: name, problem: problemOf(error) }, error)
    }
  }

  get description(): string {
    return this.#host.description
  }

  /** The process that computes; another one after it died. */
  get pid(): number {
    return this.#host.pid
  }

  /** Its threads stay those that it was loaded with. */
  get hasFixedThreads(): boolean {
    return this.#host.hasFixedThreads
  }

  /** Threads from the next command on, where the backend can change them. @throws MeshError `backendFailed` */
  async useThreads(count: number): Promise<void> {
    this.#threads = count
    if (!this.#host.dead) await this.#command(operations.threads, { rows: count })
  }

  buffers(rows: number): Promise<Buffers> {
    return this.#enqueue(async () => {
      if (this.#host.dead) await this.#restart()
      if (rows > this.#rows || !this.#buffers) {
        this.#buffers = await this.#host.share(rows)
        this.#rows = rows
      }
      return this.#buffers
    })
  }

  attention(layer: number, spans: readonly Span[]): Promise<void> {
    return this.#command(operations.attention, { layer, spans, firstRow: spans[0]?.start })
  }

  feedForward(layer: number, rows: number, firstRow = 0): Promise<void> {
    return this.#command(operations.feedForward, { layer, rows, firstRow })
  }

  layers(spans: readonly Span[], rows: number): Promise<void> {
    return this.#command(operations.layers, { spans, rows })
  }

  head(rows: number): Promise<void> {
    return this.#command(operations.head, { rows })
  }

  async release(slot: number | 'all'): Promise<void> {
    if (slot === 'all') this.#slots.clear()
    else this.#slots.delete(slot)
    if (this.#host.dead) return // what it held is gone already
    await this.#command(slot === 'all' ? operations.releaseAll : operations.release, {
      slot: slot === 'all' ? 0 : slot,
    })
  }

  /** Test hook: makes the other side die in the middle of its work. */
  async crash(): Promise<void> {
    await this.#command(operations.crash, {}).catch(() => {})
  }

  /** True where what computes can hold links to other ranks itself. */
  get canLink(): boolean {
    return this.#host.ask !== undefined
  }

  /**
   * Asks the other side for something about its links.
   * @param spans of a step
   * @throws MeshError `backendFailed` | what a step failed with (`peerLost`, `collectiveTimeout`, `jobCancelled`…)
   */
  ask<T>(request: LinkRequest, body: unknown, spans: readonly Span[] = []): Promise<T> {
    return this.#enqueue(async () => {
      try {
        if (this.#host.dead && request === linkRequests.listen) await this.#restart()
        this.#check(spans)
        if (!this.#host.ask) throw new Error('it holds no links')
        return (await this.#host.ask(request, body)) as T
      } catch (error) {
        throw error instanceof MeshError && error.code !== 'internal' ? error : this.#failed(error)
      }
    })
  }

  /** Tells the other side something about its links, without waiting for what runs. */
  tell(request: LinkRequest, body: unknown): void {
    if (!this.#host.dead && !this.#closed) this.#host.tell?.(request, body)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#last.catch(() => {})
    await this.#host.close()
  }

  async #restart(): Promise<void> {
    this.#slots.clear()
    this.#buffers = undefined
    this.#host = await this.#start()
    if (this.#threads !== undefined)
      await this.#host.call({
        operation: operations.threads,
        layer: 0,
        rows: this.#threads,
        firstRow: 0,
        slot: 0,
        spans: [],
      })
  }

  #enqueue<T>(action: () => Promise<T>): Promise<T> {
    const next = this.#last.then(async () => {
      if (this.#closed) throw new MeshError('backendFailed', { backend: this.name, problem: 'it was closed' })
      return action()
    })
    this.#last = next.catch(() => {})
    return next
  }

  #check(spans: readonly Span[]): void {
    const lost = spans.find(({ slot, position }) => position > 0 && !this.#slots.has(slot))
    if (lost)
      throw new Error(
        `the cache of sequence ${lost.slot} is gone: it was freed, or what computes died and was started again`,
      )
    for (const { slot } of spans) this.#slots.add(slot)
  }

  #command(
    operation: Operation,
    { layer = 0, rows = 0, firstRow = 0, slot = 0, spans = [] }: Partial<Omit<Command, 'operation'>>,
  ): Promise<void> {
    return this.#enqueue(async () => {
      try {
        this.#check(spans)
        await this.#host.call({ operation, layer, rows, firstRow, slot, spans })
      } catch (error) {
        throw this.#failed(error)
      }
    })
  }

  #failed(error: unknown): MeshError {
    return new MeshError('backendFailed', { backend: this.name, problem: problemOf(error) }, error)
  }
}
