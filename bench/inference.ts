/** `mesh bench`: prompts through a ring of processes, and llama.cpp beside it if asked. */
import { fileURLToPath } from 'node:url'
import type {
  BatchFigures,
  ContextFigures,
  InferenceReport,
  LlamaCppFigures,
  PhaseReport,
  Spread,
} from '../shared/schema/bench.ts'
import type {
  Batched,
  Connected,
  InferenceOrder,
  InferenceSettings,
  PhaseFigures,
  RankMemory,
  RunResult,
} from './inference-rank.ts'
import { installLlamaCpp, type LlamaCpp, type LlamaCppRun } from './llama-cpp.ts'
import { type Ranks, type Ready, startRanks } from './ranks.ts'
import type { LinkShape } from './shaped-network.ts'
import { spread } from './spread.ts'

export interface InferenceOptions extends InferenceSettings {
  readonly workers: number
  readonly promptTokens: number
  readonly tokens: number
  /** Lengths of further prompts. */
  readonly contexts: readonly number[]
  /** Sizes of batches. */
  readonly sequences: readonly number[]
  readonly runs: number
  /** Time llama.cpp beside it. */
  readonly compare: boolean
  readonly link?: LinkShape
}

/** All that is measured once in a round. */
interface Round {
  readonly prompt: RunResult
  readonly contexts: readonly RunResult[]
  /** Tokens per second. */
  readonly batches: readonly number[]
  readonly llama: LlamaCppRun | undefined
}

interface InferenceReady extends Ready {
  readonly backend: string
  readonly description: string
  readonly loadMs: number
  readonly shardMs: number
}

const program = fileURLToPath(new URL('./inference-rank.ts', import.meta.url))

/** Prompts of a batch: what is timed comes after them. */
const batchPromptTokens = 32

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

const figuresOf = (runs: readonly RunResult[], promptTokens: number, tokens: number) => ({
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

const compared = (threads: number, runs: readonly RunResult[], beside: readonly LlamaCppRun[]): LlamaCppFigures => ({
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

const contextFigures = (contexts: readonly number[], rounds: readonly Round[]): ContextFigures[] =>
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

const batchFigures = (sequences: readonly number[], rounds: readonly Round[]): BatchFigures[] =>
  sequences.map((size, index) => ({
    sequences: size,
    decodeTokensPerSecond: spread(rounds.map(({ batches }) => batches[index])),
    ratio: spread(rounds.map(({ batches }) => batches[index] / batches[0])),
  }))

type Group = Ranks<InferenceReady, InferenceOrder>

/** Everything of a round in turn, so that all see the same moods of the machine. */
const measureRound = async (
  { ask, askAll }: Group,
  options: InferenceOptions,
  llama: LlamaCpp | undefined,
  number: number,
): Promise<Round> => {
  const { workers, threads, promptTokens, tokens } = options
  const runPrompt = (length: number): Promise<RunResult> =>
    ask(0, { type: 'run', promptTokens: length, tokens }, 'result')
  const prompt = await runPrompt(promptTokens)
  const beside = llama?.run(workers * threads, promptTokens, tokens)
  const contexts: RunResult[] = []
  for (const context of options.contexts) contexts.push(await runPrompt(context))
  const batches: number[] = []
  for (const [index, sequences] of options.sequences.entries()) {
    const batch = number * options.sequences.length + index
    const [{ decodeMs }] = await askAll<Batched>(
      { type: 'batch', batch, sequences, promptTokens: Math.min(promptTokens, batchPromptTokens), tokens },
      'batched',
    )
    batches.push((sequences * tokens * 1000) / decodeMs)
  }
  return { prompt, contexts, batches, llama: beside }
}

export const benchInference = async (options: InferenceOptions): Promise<InferenceReport> => {
  const {
    workers,
    promptTokens,
    tokens,
    runs,
    compare,
    link,
    shape,
    modelFolder,
    quant,
    backend: choice,
    threads,
    spinMs,
    collective,
    carrier,
  } = options
  const llama = compare ? installLlamaCpp(shape) : undefined
  try {
    const settings: InferenceSettings = {
      shape,
      modelFolder,
      quant,
      backend: choice,
      threads,
      spinMs,
      collective,
      carrier,
    }
    const group: Group = await startRanks({ program, workers, settings, shape, quant, link })
    try {
      await measureRound(group, options, undefined, 0) // warms up
      const rounds: Round[] = []
      for (let number = 1; number <= runs; number++) rounds.push(await measureRound(group, options, llama, number))
      const memory = await group.askAll<RankMemory>({ type: 'measure' }, 'measured')
      const [{ backend, description }] = group.ready
      const prompts = rounds.map(({ prompt }) => prompt)
      return {
        backend,
        description,
        carrier: (group.connected[0] as Connected).carrier,
        ...figuresOf(prompts, promptTokens, tokens),
        contexts: contextFigures(options.contexts, rounds),
        batches: batchFigures(options.sequences, rounds),
        residentBytes: memory.map(({ residentBytes }) => residentBytes),
        shardBytes: memory.map(({ shardBytes }) => shardBytes),
        shardMs: Math.max(...group.ready.map(({ shardMs }) => shardMs)),
        loadMs: Math.max(...group.ready.map(({ loadMs }) => loadMs)),
        llamaCpp:
          llama &&
          compared(
            workers * threads,
            prompts,
            rounds.flatMap(({ llama: beside }) => beside ?? []),
          ),
      }
    } finally {
      await group.stop()
    }
  } finally {
    llama?.stop()
  }
}
