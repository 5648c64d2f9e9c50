/** What a rank does during a prompt, measured from inside: waits, processor time, bytes, delay of the event loop. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Engine } from '../agent/engine/engine.ts'
import type { Leader } from '../agent/generation/leader.ts'
import { type BatchRank, greedy, promptOf } from './batch.ts'
import type { PhaseFigures, PromptOrder, RunResult } from './inference-orders.ts'
import { cpuMeter } from './process-figures.ts'

interface StepTimes {
  computeMs: number
  collectiveMs: number
}

export interface MeasuredRank extends BatchRank {
  /** Of the steps since they were set to zero. */
  readonly times: StepTimes
  bytesSent(): number
}

const loopDelay = monitorEventLoopDelay({ resolution: 1 })
/** Above what the sampling itself takes. */
const loopDelayMs = (): number => Math.max(0, loopDelay.percentile(99) / 1e6 - 1)

/** An engine that tells how long its steps took. */
export const timed = (engine: Engine, times: StepTimes): Engine => ({
  ...engine,
  step: async (input) => {
    const result = await engine.step(input)
    times.computeMs += result.times.computeMs
    times.collectiveMs += result.times.collectiveMs
    return result
  },
})

/** Starts a phase. @returns a function that ends it */
const beginPhase = ({ bytesSent: sent, times }: MeasuredRank): (() => PhaseFigures) => {
  const [started, before, cpu] = [performance.now(), sent(), cpuMeter()]
  Object.assign(times, { computeMs: 0, collectiveMs: 0 })
  loopDelay.reset()
  return () => ({
    wallMs: performance.now() - started,
    ...times,
    cpu: cpu(),
    bytesSent: sent() - before,
    loopDelayMs: loopDelayMs(),
  })
}

/** One prompt through the token loop of agents. */
export const runPrompt = async (
  leader: Leader,
  rank: MeasuredRank,
  { promptTokens, tokens: maxTokens }: PromptOrder,
): Promise<RunResult> => {
  loopDelay.enable()
  let end = beginPhase(rank)
  let prefill: PhaseFigures | undefined
  const { timings, tokens } = await leader.run({
    jobId: 'bench',
    tokens: promptOf(promptTokens, rank.vocab),
    maxTokens,
    stop: [],
    endTokens: [],
    queuedMs: 0,
    sampling: greedy,
    signal: new AbortController().signal,
    onToken: () => {
      if (prefill) return
      prefill = end()
      end = beginPhase(rank)
    },
  })
  const decode = end()
  loopDelay.disable()
  return { timings, tokens: tokens.length, prefill: prefill ?? decode, decode }
}
