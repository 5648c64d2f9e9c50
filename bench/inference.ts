/** `mesh bench`: prompts through a ring of processes, and llama.cpp beside it if asked. */
import { fileURLToPath } from 'node:url'
import type { InferenceReport } from '../shared/schema/bench.ts'
import { batchFigures, compared, contextFigures, figuresOf, type Round } from './inference-figures.ts'
import type {
  Batched,
  Connected,
  InferenceOrder,
  InferenceSettings,
  RankMemory,
  RunResult,
} from './inference-orders.ts'
import { installLlamaCpp, type LlamaCpp } from './llama-cpp.ts'
import { type Ranks, type Ready, startRanks } from './ranks.ts'
import type { LinkShape } from './shaped-network.ts'

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

interface InferenceReady extends Ready {
  readonly backend: string
  readonly description: string
  readonly loadMs: number
  readonly shardMs: number
}

const program = fileURLToPath(new URL('./inference-rank.ts', import.meta.url))

/** Prompts of a batch: what is timed comes after them. */
const batchPromptTokens = 32

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

const reportOf = async (
  { ready, connected, askAll }: Group,
  { workers, threads, promptTokens, tokens, contexts, sequences, compare }: InferenceOptions,
  rounds: readonly Round[],
): Promise<InferenceReport> => {
  const memory = await askAll<RankMemory>({ type: 'measure' }, 'measured')
  const [{ backend, description }] = ready
  const prompts = rounds.map(({ prompt }) => prompt)
  const beside = rounds.flatMap(({ llama }) => llama ?? [])
  return {
    backend,
    description,
    carrier: (connected[0] as Connected).carrier,
    ...figuresOf(prompts, promptTokens, tokens),
    contexts: contextFigures(contexts, rounds),
    batches: batchFigures(sequences, rounds),
    residentBytes: memory.map(({ residentBytes }) => residentBytes),
    shardBytes: memory.map(({ shardBytes }) => shardBytes),
    shardMs: Math.max(...ready.map(({ shardMs }) => shardMs)),
    loadMs: Math.max(...ready.map(({ loadMs }) => loadMs)),
    llamaCpp: compare ? compared(workers * threads, prompts, beside) : undefined,
  }
}

export const benchInference = async (options: InferenceOptions): Promise<InferenceReport> => {
  const { workers, runs, compare, link, shape, quant } = options
  const { modelFolder, backend, threads, spinMs, collective, carrier } = options
  const settings: InferenceSettings = { shape, modelFolder, quant, backend, threads, spinMs, collective, carrier }
  const llama = compare ? installLlamaCpp(shape) : undefined
  try {
    const group: Group = await startRanks({ program, workers, settings, shape, quant, link })
    try {
      await measureRound(group, options, undefined, 0) // warms up
      const rounds: Round[] = []
      for (let number = 1; number <= runs; number++) rounds.push(await measureRound(group, options, llama, number))
      return await reportOf(group, options, rounds)
    } finally {
      await group.stop()
    }
  } finally {
    llama?.stop()
  }
}
