/**
 * The token loop, on rank 0. It leads the other ranks through control frames: each step names the tokens to run, every
 * rank runs it, each sends its best candidates, and this one draws the next token. That token travels with the next
 * step, so that all ranks stay on the same text.
 */
import { MeshError } from '../../shared/errors.ts'
import type { FinishReason, Sampling, Timings, Usage } from '../../shared/schema/job.ts'
import type { RingControl, SequenceStep } from '../../shared/wire/envelope.ts'
import type { Channel } from '../collective/channel.ts'
import type { Engine } from '../engine/engine.ts'
import { candidateCount, decodeCandidates } from './candidates.ts'
import { createDetokenizer, type Decoder } from './detokenize.ts'
import { candidatesTag, prefillChunkTokens } from './protocol.ts'
import { sample, topCandidates } from './sampler.ts'
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
  /** Called for every token: its index in the answer, and the text that may now be shown (empty while held back). */
  onToken(index: number, token: number, text: string): void
}

export interface GenerationResult {
  readonly finishReason: FinishReason
  readonly text: string
  readonly tokens: readonly number[]
  readonly usage: Usage
  readonly timings: Timings
}

export interface LeaderOptions {
  readonly engine: Engine
  /** Absent in a ring of one. */
  readonly channel: Channel | undefined
  readonly decoder: Decoder
  /** Called when a link breaks: the epoch is over. */
  onLost?(error: Error): void
  readonly clock?: () => number
}

export interface Leader {
  /**
   * Runs one prompt; one at a time.
   * @throws MeshError `promptEmpty` | `promptTooLong` | `peerLost` | `collectiveTimeout` | `backendFailed`
   */
  run(request: GenerationRequest): Promise<GenerationResult>
}

/** One job while it runs. */
interface Run {
  readonly job: number
  readonly request: GenerationRequest
  readonly history: number[]
  readonly times: { computeMs: number; collectiveMs: number }
  step: number
}

export const createLeader = ({ engine, channel, decoder, onLost, clock = () => performance.now() }: LeaderOptions): Leader => {
  const others = Array.from({ length: (channel?.worldSize ?? 1) - 1 }, (_, i) => i + 1)
  let jobs = 0
  /** Fails the job that runs: another rank gave up, or its link broke. */
  let interrupt: (error: Error) => void = () => {}
  /** Why no job can run any more. */
  let broken: Error | undefined
  let idle: Promise<unknown> = Promise.resolve()

  channel?.onControl({
    message: (_, message) => {
      if (message.type === 'abort' && message.job === jobs) interrupt(MeshError.fromReport(message.error))
    },
    lost: (_, error) => {
      broken ??= error
      interrupt(error)
      onLost?.(error)
    },
  })

  const broadcast = async (message: RingControl): Promise<void> => {
    await Promise.all(others.map((rank) => channel?.sendControl(rank, message)))
  }

  /** Runs tokens at their position; with `logits: 'last'` also draws the token that follows them. */
  const runStep = async (run: Run, sequence: SequenceStep): Promise<number | undefined> => {
    const step = run.step++
    await broadcast({ type: 'step', job: run.job, step, sequences: [sequence] })
    const { rows, times } = await engine.step({ job: run.job, step, sequences: [sequence] })
    run.times.computeMs += times.computeMs
    run.times.collectiveMs += times.collectiveMs
    if (sequence.logits === 'none') return undefined
    const { sampling } = run.request
    const own = topCandidates(rows[0].logits, engine.vocabStart, { count: candidateCount(sampling), history: run.history, sampling })
    const started = clock()
    const theirs = await Promise.all(others.map(async (rank) => decodeCandidates((await channel!.receive(rank, candidatesTag(run.job, step))).bytes)))
    run.times.collectiveMs += clock() - started
    return sample([own, ...theirs], sampling, sequence.position + sequence.tokens.length).id
  }

  const prefill = async (run: Run): Promise<number> => {
    const { tokens, signal } = run.request
    for (let position = 0; ; position += prefillChunkTokens) {
      signal.throwIfAborted()
      const chunk = tokens.slice(position, position + prefillChunkTokens)
      const isLast = position + chunk.length >= tokens.length
      const next = await runStep(run, { slot: run.job, position, tokens: chunk, logits: isLast ? 'last' : 'none' })
      if (next !== undefined) return next
    }
  }

  const generate = async (run: Run): Promise<GenerationResult> => {
    const { request } = run
    const started = clock()
    const detokenizer = createDetokenizer(decoder)
    const matcher = createStopMatcher(request.stop)
    const tokens: number[] = []
    const room = Math.min(request.maxTokens, engine.contextLength - request.tokens.length)
    let text = ''
    let finishReason: FinishReason = 'length'
    let firstTokenAt: number | undefined
    const show = (index: number, token: number, safe: string): void => {
      text += safe
      request.onToken(index, token, safe)
    }
    try {
      let next = await prefill(run)
      firstTokenAt = clock()
      for (;;) {
        if (request.endTokens.includes(next)) {
          finishReason = 'stop'
          break
        }
        run.history.push(next)
        tokens.push(next)
        const seen = matcher.push(detokenizer.push(next))
        show(tokens.length - 1, next, seen.text)
        if (seen.stopped) finishReason = 'stop'
        if (seen.stopped || tokens.length >= room) break
        request.signal.throwIfAborted()
        next = (await runStep(run, { slot: run.job, position: request.tokens.length + tokens.length - 1, tokens: [next], logits: 'last' })) as number
      }
    } catch (error) {
      if (!request.signal.aborted || error !== request.signal.reason) throw error
      finishReason = 'cancelled'
    }
    text += matcher.finish(detokenizer.finish())
    return { finishReason, text, tokens, usage: usageOf(request.tokens.length, tokens.length), timings: timingsOf(run, tokens.length, { started, firstTokenAt: firstTokenAt ?? clock(), ended: clock() }) }
  }

  const lead = async (request: GenerationRequest): Promise<GenerationResult> => {
    const run: Run = { job: ++jobs, request, history: [...request.tokens], times: { computeMs: 0, collectiveMs: 0 }, step: 0 }
    const interrupted = new Promise<never>((_, reject) => {
      interrupt = reject
    })
    interrupted.catch(() => {})
    if (broken) throw broken
    const work = (async () => {
      await broadcast({ type: 'job-start', job: run.job, jobId: request.jobId, sampling: request.sampling })
      return generate(run)
    })()
    try {
      return await Promise.race([work, interrupted])
    } catch (error) {
      await broadcast({ type: 'abort', job: run.job, error: MeshError.from(error).toReport() }).catch(() => {})
      throw error
    } finally {
      interrupt = () => {}
      channel?.forgetJob(run.job)
      // A step that still runs here must end before the next job may use the engine.
      idle = work.catch(() => {}).then(() => engine.release(run.job)).catch(() => {})
      if (!broken) await broadcast({ type: 'job-end', job: run.job }).catch(() => {})
    }
  }

  return {
    run: async (request) => {
      if (request.tokens.length === 0) throw new MeshError('promptEmpty')
      if (request.tokens.length >= engine.contextLength) throw new MeshError('promptTooLong', { tokens: request.tokens.length, context: engine.contextLength })
      await idle
      return lead(request)
    },
  }
}

const usageOf = (promptTokens: number, completionTokens: number): Usage => ({ promptTokens, completionTokens, totalTokens: promptTokens + completionTokens })

const timingsOf = (run: Run, completionTokens: number, at: { started: number; firstTokenAt: number; ended: number }): Timings => {
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
