/** `mesh bench`: prompts through a ring of processes, and llama.cpp beside it if asked. */
import { fileURLToPath } from 'node:url'
import type { InferenceOrder, InferenceSettings, RankMemory, RunResult } from './inference-rank.ts'
import { installLlamaCpp, type LlamaCppRun } from './llama-cpp.ts'
import { type Ranks, type Ready, startRanks } from './ranks.ts'
import type { LinkShape } from './shaped-network.ts'
import { type Spread, spread } from './spread.ts'

export interface InferenceOptions extends InferenceSettings {
  readonly workers: number
  readonly promptTokens: number
  readonly tokens: number
  readonly runs: number
  /** Time llama.cpp beside it. */
  readonly compare: boolean
  readonly link?: LinkShape
}

interface InferenceReady extends Ready {
  readonly backend: string
  readonly description: string
  readonly loadMs: number
}

export interface LlamaCppFigures {
  readonly threads: number
  readonly prefillTokensPerSecond: Spread
  readonly decodeTokensPerSecond: Spread
  /** Ours over llama.cpp, pair by pair. */
  readonly prefillRatio: Spread
  readonly decodeRatio: Spread
}

const program = fileURLToPath(new URL('./inference-rank.ts', import.meta.url))

const figuresOf = (runs: readonly RunResult[]) => {
  const of = (pick: (run: RunResult) => number): Spread => spread(runs.map(pick))
  // phases of decode alone cannot be told apart from those of prefill here: both are per token that went through
  const perToken = (pick: (run: RunResult) => number): Spread => of((run) => pick(run) / run.tokens)
  return {
    timeToFirstTokenMs: of(({ timings }) => timings.timeToFirstTokenMs),
    prefillTokensPerSecond: of(({ timings }) => timings.prefillTokensPerSecond),
    decodeTokensPerSecond: of(({ timings }) => timings.decodeTokensPerSecond),
    computeMsPerToken: perToken(({ timings }) => timings.computeMs),
    allReduceMsPerToken: perToken(({ timings }) => timings.collectiveMs),
    otherMsPerToken: perToken(({ timings }) => timings.prefillMs + timings.decodeMs - timings.computeMs - timings.collectiveMs),
    bytesSentPerToken: perToken(({ bytesSent }) => bytesSent),
    eventLoopDelayP99Ms: of(({ loopDelayP99Ms }) => loopDelayP99Ms),
  }
}

const compared = (threads: number, runs: readonly RunResult[], beside: readonly LlamaCppRun[]): LlamaCppFigures => ({
  threads,
  prefillTokensPerSecond: spread(beside.map((one) => one.prefillTokensPerSecond)),
  decodeTokensPerSecond: spread(beside.map((one) => one.decodeTokensPerSecond)),
  prefillRatio: spread(runs.map(({ timings }, index) => timings.prefillTokensPerSecond / beside[index].prefillTokensPerSecond)),
  decodeRatio: spread(runs.map(({ timings }, index) => timings.decodeTokensPerSecond / beside[index].decodeTokensPerSecond)),
})

export const benchInference = async ({ workers, promptTokens, tokens, runs: count, compare, link, ...settings }: InferenceOptions) => {
  const llama = compare ? installLlamaCpp(settings.shape) : undefined
  try {
    const ranks: Ranks<InferenceReady, InferenceOrder> = await startRanks({ program, workers, settings, shape: settings.shape, quant: settings.quant, link })
    try {
      const run = (): Promise<RunResult> => ranks.ask(0, { type: 'run', promptTokens, tokens }, 'result')
      const runs: RunResult[] = []
      const beside: LlamaCppRun[] = []
      const threads = workers * settings.threads
      await run()
      for (let index = 0; index < count; index++) {
        // in turn, so that both see the same moods of the machine
        runs.push(await run())
        if (llama) beside.push(llama.run(threads, promptTokens, tokens))
      }
      const memory = await ranks.askAll<RankMemory>({ type: 'measure' }, 'measured')
      const [{ backend, description }] = ranks.ready
      return {
        backend,
        description,
        ...figuresOf(runs),
        residentBytes: memory.map(({ residentBytes }) => residentBytes),
        shardBytes: memory.map(({ shardBytes }) => shardBytes),
        loadMs: Math.max(...ranks.ready.map(({ loadMs }) => loadMs)),
        llamaCpp: llama && compared(threads, runs, beside),
      }
    } finally {
      await ranks.stop()
    }
  } finally {
    llama?.stop()
  }
}

export type InferenceReport = Awaited<ReturnType<typeof benchInference>>
