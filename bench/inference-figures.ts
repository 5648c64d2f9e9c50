/** What rounds of a benchmark of inference come to: medians with least and most, ratios taken pair by pair. */
import type { BatchFigures, ContextFigures, LlamaCppFigures, PhaseReport, Spread } from '../shared/schema/bench.ts'
import type { PhaseFigures, RunResult } from './inference-orders.ts'
import type { LlamaCppRun } from './llama-cpp.ts'
import { spread } from './spread.ts'

/** All that is measured once in a round. */
export interface Round {
  readonly prompt: RunResult
  readonly contexts: readonly RunResult[]
  /** Tokens per second. */
  readonly batches: readonly number[]
  readonly llama: LlamaCppRun | undefined
}

const phaseOf = (phases: readonly PhaseFigures[], tokens: number): PhaseReport => {
  const perToken = (pick: (phase: PhaseFigures) => number): Spread =>
    spread(phases.map((phase) => pick(phase) / tokens))
  return {
    computeMsPerToken: perToken(({ computeMs }) => computeMs),
    allReduceMsPerToken: perToken(({ collectiveMs }) => collectiveMs),
    otherMsPerToken: perToken(({ wallMs, computeMs, collectiveMs }) => wallMs - computeMs - collectiveMs),
    agentCpuMsPerToken: perToken(({ cpu }) => cpu.agent),
    computeCpuMsPerToken: perToken(({ cpu }) => cpu.compute),
    bytesPerToken: perToken(({ bytesSent }) => bytesSent),
    loopDelayP99Ms: spread(phases.map(({ loopDelayMs }) => loopDelayMs)),
  }
}

export const figuresOf = (runs: readonly RunResult[], promptTokens: number, tokens: number) => ({
  timeToFirstTokenMs: spread(runs.map(({ timings }) => timings.timeToFirstTokenMs)),
  prefillTokensPerSecond: spread(runs.map(({ timings }) => timings.prefillTokensPerSecond)),
  decodeTokensPerSecond: spread(runs.map(({ timings }) => timings.decodeTokensPerSecond)),
  prefill: phaseOf(
    runs.map(({ prefill }) => prefill),
    promptTokens,
  ),
  decode: phaseOf(
    runs.map(({ decode }) => decode),
    Math.max(1, tokens - 1),
  ),
})

export const compared = (
  threads: number,
  runs: readonly RunResult[],
  beside: readonly LlamaCppRun[],
): LlamaCppFigures => ({
  threads,
  prefillTokensPerSecond: spread(beside.map((one) => one.prefillTokensPerSecond)),
  decodeTokensPerSecond: spread(beside.map((one) => one.decodeTokensPerSecond)),
  prefillRatio: spread(
    runs.map(({ timings }, index) => timings.prefillTokensPerSecond / beside[index].prefillTokensPerSecond),
  ),
  decodeRatio: spread(
    runs.map(({ timings }, index) => timings.decodeTokensPerSecond / beside[index].decodeTokensPerSecond),
  ),
})

export const contextFigures = (contexts: readonly number[], rounds: readonly Round[]): ContextFigures[] =>
  contexts.map((context, index) => {
    const of = (pick: (run: RunResult, first: RunResult) => number): Spread =>
      spread(rounds.map((round) => pick(round.contexts[index], round.contexts[0])))
    return {
      context,
      prefillTokensPerSecond: of(({ timings }) => timings.prefillTokensPerSecond),
      decodeTokensPerSecond: of(({ timings }) => timings.decodeTokensPerSecond),
      decodeRatio: of(({ timings }, first) => timings.decodeTokensPerSecond / first.timings.decodeTokensPerSecond),
      prefillLoopDelayP99Ms: of(({ prefill }) => prefill.loopDelayMs),
    }
  })

export const batchFigures = (sequences: readonly number[], rounds: readonly Round[]): BatchFigures[] =>
  sequences.map((size, index) => ({
    sequences: size,
    decodeTokensPerSecond: spread(rounds.map(({ batches }) => batches[index])),
    ratio: spread(rounds.map(({ batches }) => batches[index] / batches[0])),
  }))
