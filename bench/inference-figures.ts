/** What rounds of a benchmark of inference come to: medians with least and most, ratios taken pair by pair. */
import type { BatchFigures, ContextFigures, LlamaCppFigures, PhaseReport, Spread } from '../shared/schema/bench.ts'
import type { PhaseFigures, RunResult } from './inference-orders.ts'
import type { LlamaCppRun } from './llama-cpp-orders.ts'
import { spread } from './spread.ts'

/** All that is measured once in a round. */
export interface Round {
  readonly prompt: RunResult
  readonly contexts: readonly RunResult[]
  /** Tokens per second. */
  readonly batches: readonly number[]
  readonly beside: BesideRound
}

/** What llama.cpp did in the same round, if it was there. */
export interface BesideRound {
  readonly prompt: LlamaCppRun | undefined
  readonly contexts: LlamaCppRun[]
  /** Tokens per second. */
  readonly batches: number[]
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

/** Speeds of llama.cpp at one kind of prompt, and ours over them pair by pair. */
const promptsBeside = (ours: readonly RunResult[], theirs: readonly LlamaCppRun[]) => {
  const of = (pick: (run: LlamaCppRun) => number): Spread => spread(theirs.map(pick))
  const ratio = (pick: (run: LlamaCppRun) => number): Spread =>
    spread(ours.map(({ timings }, index) => pick(timings) / pick(theirs[index])))
  return {
    prefillTokensPerSecond: of((run) => run.prefillTokensPerSecond),
    decodeTokensPerSecond: of((run) => run.decodeTokensPerSecond),
    prefillRatio: ratio((run) => run.prefillTokensPerSecond),
    decodeRatio: ratio((run) => run.decodeTokensPerSecond),
  }
}

/** @param rounds in all of which llama.cpp was there */
export const compared = (
  rounds: readonly Round[],
  { contexts, sequences }: { readonly contexts: readonly number[]; readonly sequences: readonly number[] },
): Omit<LlamaCppFigures, 'threads' | 'residentBytes'> => ({
  ...promptsBeside(
    rounds.map(({ prompt }) => prompt),
    rounds.flatMap(({ beside }) => beside.prompt ?? []),
  ),
  contexts: contexts.map((context, index) => ({
    context,
    ...promptsBeside(
      rounds.map((round) => round.contexts[index]),
      rounds.map(({ beside }) => beside.contexts[index]),
    ),
  })),
  batches: sequences.map((size, index) => ({
    sequences: size,
    decodeTokensPerSecond: spread(rounds.map(({ beside }) => beside.batches[index])),
    decodeRatio: spread(rounds.map(({ batches, beside }) => batches[index] / beside.batches[index])),
  })),
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
