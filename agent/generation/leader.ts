/**
 * The token loop, on rank 0. It leads the other ranks through control frames: each step names the tokens to run, every
 * rank runs it, each sends its best candidates, and this one draws the next token. That token travels with the next
 * step, so that all ranks stay on the same text.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { MeshError } from '../../shared/errors.ts'
import { reportedBy } from '../../shared/peer-report.ts'
import type { FinishReason, Sampling, Timings, Usage } from '../../shared/schema/job.ts'
import type { RingControl, SequenceStep } from '../../shared/wire/envelope.ts'
import { type Channel, othersOf } from '../channel/channel.ts'
import { type CollectiveSettings, defaultSettings } from '../collective/chooser.ts'
import type { Engine } from '../engine/engine.ts'
import { createDetokenizer, type Decoder } from './detokenize.ts'
import { drawToken, type Rank } from './draw.ts'
import { prefillChunkTokens, type RankWork } from './protocol.ts'
import { createStopMatcher } from './stop.ts'

export interface GenerationRequest {
  readonly jobId: string
  /** Prompt, special tokens included. */
  readonly tokens: readonly number[]
  readonly maxTokens: number
  readonly sampling: Sampling
  readonly stop: readonly string[]
  /** Ends the answer; never part of it. */
  readonly endTokens: readonly number[]
  readonly queuedMs: number
  readonly signal: AbortSignal
  /** Called while the prompt is read, with the tokens that are done. */
  onRead?(tokens: number): void
  /** Called for every token: its index in the answer, and the text that may now be shown (empty while held back). */
  onToken(index: number, token: number, text: string): void
}

export interface GenerationResult {
  readonly finishReason: FinishReason
  readonly text: string
  readonly tokens: readonly number[]
  readonly usage: Usage
  readonly timings: Timings
  /** What this rank did. */
  readonly work: RankWork
}

/** Milliseconds in which this rank may see for itself what another one says of a third. */
const ownViewMs = 500

export interface LeaderOptions {
  readonly engine: Engine
  /** Absent in a ring of one. */
  readonly channel: Channel | undefined
  readonly decoder: Decoder
  /** All ranks, this one first. */
  readonly members: readonly Rank[]
  /** How this ring sums; asked when a job starts, and announced to every rank. */
  settings?(): CollectiveSettings
  /** A job failed, here or on another rank; it was not cancelled. */
  onFailed?(error: Error): void
  /** Called when a link breaks: the epoch is over. */
  onLost?(error: Error): void
  readonly clock?: () => number
}

/** What a job has made so far. */
interface Answer {
  readonly tokens: number[]
  text: string
  finishReason: FinishReason
  readonly started: number
  firstTokenAt: number | undefined
}

/** One job while it runs. */
interface Run {
  readonly job: number
  readonly request: GenerationRequest
  readonly history: number[]
  readonly times: { computeMs: number; collectiveMs: number }
  /** Tokens that went through the layers. */
  tokens: number
  step: number
  /** A step that was begun before the answer turned out to be complete: all ranks are in the middle of it. */
  unneeded: Promise<unknown> | undefined
}

export class Leader {
  readonly #engine: Engine
  readonly #channel: Channel | undefined
  readonly #decoder: Decoder
  readonly #clock: () => number
  readonly #others: readonly number[]
  readonly #members: readonly Rank[]
  readonly #settings: () => CollectiveSettings
  readonly #onFailed: (error: Error) => void
  #jobs = 0
  /** Fails the job that runs: another rank gave up, or its link broke. */
  #interrupt: (error: Error) => void = () => {}
  /** Why no job can run any more. */
  #broken: Error | undefined
  #idle: Promise<unknown> = Promise.resolve()

  constructor({
    engine,
    channel,
    decoder,
    members,
    onLost,
    settings = () => defaultSettings,
    onFailed = () => {},
    clock = () => performance.now(),
  }: LeaderOptions) {
    this.#engine = engine
    this.#channel = channel
    this.#decoder = decoder
    this.#members = members
    this.#clock = clock
    this.#settings = settings
    this.#onFailed = onFailed
    this.#others = channel ? othersOf(channel) : []
    channel?.onControl({
      message: (from, message) => {
        if (message.type === 'abort' && message.job === this.#jobs) this.#gaveUp(from, message)
      },
      lost: (_, error) => {
        this.#broken ??= error
        this.#interrupt(error)
        onLost?.(error)
      },
    })
  }

  /** Another rank gave up. What it says of a third rank is told only when this one sees nothing of it. */
  #gaveUp(from: number, { job, error }: Extract<RingControl, { type: 'abort' }>): void {
    const failure = reportedBy(this.#members[from], error)
    if (failure.code === 'rankFailed') return this.#interrupt(failure)
    setTimeout(() => {
      if (job === this.#jobs) this.#interrupt(failure)
    }, ownViewMs).unref()
  }

  /** Tokens that prompt and answer may have together. */
  get contextLength(): number {
    return this.#engine.contextLength
  }

  /**
   * Runs one prompt; one at a time.
   * @throws MeshError `promptEmpty` | `promptTooLong` | `peerLost` | `collectiveTimeout` | `peerInvalid` | `peerFailed`
   * | `rankFailed`
   */
  async run(request: GenerationRequest): Promise<GenerationResult> {
    const { tokens } = request
    const context = this.#engine.contextLength
    if (tokens.length === 0) throw new MeshError('promptEmpty')
    if (tokens.length >= context) throw new MeshError('promptTooLong', { tokens: tokens.length, context })
    await this.#idle
    if (this.#broken) throw this.#broken
    const run: Run = {
      job: ++this.#jobs,
      request,
      history: [...tokens],
      times: { computeMs: 0, collectiveMs: 0 },
      tokens: 0,
      step: 0,
      unneeded: undefined,
    }
    const interrupted = new Promise<never>((_, reject) => {
      this.#interrupt = reject
    })
    interrupted.catch(() => {})
    const work = this.#lead(run)
    try {
      return await Promise.race([work, interrupted])
    } catch (error) {
      const failure = this.#named(error)
      this.#onFailed(failure)
      await this.#broadcast({ type: 'abort', job: run.job, error: failure.toReport() }).catch(() => {})
      throw failure
    } finally {
      this.#end(run, work)
    }
  }

  /** What this rank computed itself is told by its name too: who reads it may sit at another. */
  #named(error: unknown): MeshError {
    const failure = MeshError.from(error)
    const { rank, name } = this.#members[0]
    return failure.code === 'backendFailed'
      ? new MeshError('rankFailed', { peer: name, rank, problem: failure.message }, error)
      : failure
  }

  #end(run: Run, work: Promise<unknown>): void {
    this.#interrupt = () => {}
    if (run.unneeded) {
      const over = run.unneeded
        .then(
          () => {},
          () => {},
        )
        .then(() => this.#forget(run))
      this.#idle = over.then(() => this.#release(run, work))
      return
    }
    this.#forget(run)
    this.#idle = this.#release(run, work)
  }

  /** The job is over for all ranks. */
  #forget(run: Run): void {
    this.#channel?.forgetJob(run.job)
    this.#engine.forget?.(run.job)
    if (!this.#broken) this.#broadcast({ type: 'job-end', job: run.job }).catch(() => {})
  }

  /** A step that still runs here must end before the next job may use the engine. */
  async #release(run: Run, work: Promise<unknown>): Promise<void> {
    await work.catch(() => {})
    await this.#engine.release(run.job).catch(() => {})
  }

  async #lead(run: Run): Promise<GenerationResult> {
    const { jobId, sampling } = run.request
    await this.#broadcast({ type: 'job-start', job: run.job, jobId, sampling, collective: this.#settings() })
    const answer: Answer = {
      tokens: [],
      text: '',
      finishReason: 'length',
      started: this.#clock(),
      firstTokenAt: undefined,
    }
    const detokenizer = createDetokenizer(this.#decoder, run.request.tokens)
    const matcher = createStopMatcher(run.request.stop)
    try {
      await this.#generate(run, answer, (token) => matcher.push(detokenizer.push(token)))
    } catch (error) {
      if (!run.request.signal.aborted || error !== run.request.signal.reason) throw error
      answer.finishReason = 'cancelled'
    }
    return this.#result(run, answer, matcher.finish(detokenizer.finish()))
  }

  async #generate(
    run: Run,
    answer: Answer,
    show: (token: number) => { readonly text: string; readonly stopped: boolean },
  ): Promise<void> {
    const { request } = run
    const room = Math.min(request.maxTokens, this.#engine.contextLength - request.tokens.length)
    let next = await this.#prefill(run)
    answer.firstTokenAt = this.#clock()
    while (!request.endTokens.includes(next)) {
      run.history.push(next)
      answer.tokens.push(next)
      const upcoming = answer.tokens.length < room ? this.#stepAhead(run, next, answer.tokens.length) : undefined
      await turn() // the step is on its way to where it is computed: showing the token takes none of its time
      const { text, stopped } = show(next)
      answer.text += text
      request.onToken(answer.tokens.length - 1, next, text)
      if (!upcoming) {
        if (stopped) break
        return
      }
      if (stopped || request.signal.aborted) run.unneeded = upcoming
      if (stopped) break
      request.signal.throwIfAborted()
      next = await upcoming
    }
    answer.finishReason = 'stop'
  }

  /** Begins the step of a token just drawn, the n-th of the answer. Its failure is told when it is awaited. */
  #stepAhead(run: Run, token: number, nth: number): Promise<number> {
    const step = this.#step(run, {
      slot: run.job,
      position: run.request.tokens.length + nth - 1,
      tokens: [token],
      logits: 'last',
    }) as Promise<number>
    step.catch(() => {})
    return step
  }

  async #prefill(run: Run): Promise<number> {
    const { tokens, signal } = run.request
    for (let position = 0; ; position += prefillChunkTokens) {
      signal.throwIfAborted()
      const chunk = tokens.slice(position, position + prefillChunkTokens)
      const isLast = position + chunk.length >= tokens.length
      const next = await this.#step(run, { slot: run.job, position, tokens: chunk, logits: isLast ? 'last' : 'none' })
      if (next !== undefined) return next
      run.request.onRead?.(position + chunk.length)
    }
  }

  /** Runs tokens at their position; with `logits: 'last'` also draws the token that follows them. */
  async #step(run: Run, sequence: SequenceStep): Promise<number | undefined> {
    const step = run.step++
    const { sampling, tokens, maxTokens } = run.request
    const sequences = [{ ...sequence, planned: Math.min(this.#engine.contextLength, tokens.length + maxTokens) }]
    await this.#broadcast({ type: 'step', job: run.job, step, sequences })
    const { rows, times } = await this.#engine.step({
      job: run.job,
      jobId: run.request.jobId,
      step,
      sequences,
    })
    run.tokens += sequence.tokens.length
    run.times.computeMs += times.computeMs
    run.times.collectiveMs += times.collectiveMs
    if (sequence.logits === 'none') return undefined
    const started = this.#clock()
    const row = {
      job: run.job,
      step,
      vocabStart: this.#engine.vocabStart,
      logits: rows[0].logits,
      history: run.history,
      sampling,
    }
    const token = await drawToken(row, {
      channel: this.#channel,
      members: this.#members,
      position: sequence.position + sequence.tokens.length,
    })
    run.times.collectiveMs += this.#clock() - started
    return token
  }

  async #broadcast(message: RingControl): Promise<void> {
    await Promise.all(this.#others.map((rank) => this.#channel?.sendControl(rank, message)))
  }

  #result(run: Run, answer: Answer, rest: string): GenerationResult {
    const { tokens, started, finishReason } = answer
    const ended = this.#clock()
    const firstTokenAt = answer.firstTokenAt ?? ended
    const work = { jobId: run.request.jobId, tokens: run.tokens, computeMs: run.times.computeMs }
    return {
      finishReason,
      text: answer.text + rest,
      tokens,
      work,
      usage: usageOf(run.request.tokens.length, tokens.length),
      timings: timingsOf(run, tokens.length, { started, firstTokenAt, ended }),
    }
  }
}

const usageOf = (promptTokens: number, completionTokens: number): Usage => ({
  promptTokens,
  completionTokens,
  totalTokens: promptTokens + completionTokens,
})

const timingsOf = (
  run: Run,
  completionTokens: number,
  at: { started: number; firstTokenAt: number; ended: number },
): Timings => {
  const prefillMs = at.firstTokenAt - at.started
  const decodeMs = at.ended - at.firstTokenAt
  // The first token comes out of prefill: decode made the others.
  const decoded = Math.max(0, completionTokens - 1)
  return {
    queuedMs: run.request.queuedMs,
    timeToFirstTokenMs: prefillMs,
    prefillMs,
    decodeMs,
    prefillTokensPerSecond: prefillMs > 0 ? (run.request.tokens.length / prefillMs) * 1000 : 0,
    decodeTokensPerSecond: decodeMs > 0 ? (decoded / decodeMs) * 1000 : 0,
    computeMs: run.times.computeMs,
    collectiveMs: run.times.collectiveMs,
  }
}
