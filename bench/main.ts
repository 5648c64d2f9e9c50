/** `mesh bench`: times a ring of local processes, and llama.cpp beside it if asked. See METHOD.md. */
import { parseArgs } from 'node:util'
import type { CollectiveChoice } from '../agent/collective/chooser.ts'
import type { WireChoice } from '../agent/collective/wire-types.ts'
import type { BackendChoice } from '../agent/engine/choose-backend.ts'
import { printFatal } from '../shared/fatal.ts'
import { parseFlags } from '../shared/flags.ts'
import type { Quant } from '../shared/schema/model.ts'
import { formatBytes } from '../shared/units.ts'
import { installLlamaCpp, type LlamaCppRun } from './llama-cpp.ts'
import { shapes } from './random-shard.ts'
import { type Measured, type RunResult, startRing } from './ring.ts'

interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

const spread = (values: readonly number[]): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  return { median: sorted[sorted.length >> 1], min: sorted[0], max: sorted[sorted.length - 1] }
}

const show = ({ median, min, max }: Spread, digits = 1): string => `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`

const report = (runs: readonly RunResult[], measured: readonly Measured[], loadMs: number) => {
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
    residentBytes: measured.map(({ residentBytes }) => residentBytes),
    shardBytes: measured.map(({ shardBytes }) => shardBytes),
    loadMs,
  }
}

const run = async (): Promise<void> => {
  const options = parseFlags(['shape', 'workers', 'threads', 'spin', 'backend', 'quant', 'promptTokens', 'tokens', 'runs', 'collective', 'wire', 'compare', 'json', 'logLevel'], parseArgs, { defaults: () => ({ quant: 'q4', threads: '1' }) })
  const shape = shapes[options.shape]
  const llama = options.compare === undefined ? undefined : installLlamaCpp(shape)
  const cores = options.workers * options.threads
  try {
    const ring = await startRing({ workers: options.workers, threads: options.threads, spinMs: options.spin, backend: options.backend as BackendChoice, quant: options.quant as Quant, collective: { algorithm: options.collective as CollectiveChoice, wire: options.wire as WireChoice }, shape })
    const runs: RunResult[] = []
    const beside: LlamaCppRun[] = []
    try {
      await ring.run(options.promptTokens, options.tokens)
      for (let index = 0; index < options.runs; index++) {
        // in turn, so that both see the same moods of the machine
        runs.push(await ring.run(options.promptTokens, options.tokens))
        if (llama) beside.push(llama.run(cores, options.promptTokens, options.tokens))
      }
      const figures = report(runs, await ring.measure(), ring.loadMs)
      const compared = llama && {
        threads: cores,
        prefillTokensPerSecond: spread(beside.map((one) => one.prefillTokensPerSecond)),
        decodeTokensPerSecond: spread(beside.map((one) => one.decodeTokensPerSecond)),
        prefillRatio: spread(runs.map(({ timings }, index) => timings.prefillTokensPerSecond / beside[index].prefillTokensPerSecond)),
        decodeRatio: spread(runs.map(({ timings }, index) => timings.decodeTokensPerSecond / beside[index].decodeTokensPerSecond)),
      }
      const what = { shape: options.shape, workers: options.workers, threads: options.threads, backend: ring.backend, description: ring.description, quant: options.quant, collective: options.collective, wire: options.wire, promptTokens: options.promptTokens, tokens: options.tokens, runs: options.runs }
      if (options.json) process.stdout.write(`${JSON.stringify({ ...what, ...figures, llamaCpp: compared })}\n`)
      else {
        const lines = [
          `${what.shape}, ${what.quant}, ${what.workers} x ${what.threads} threads, ${what.backend} (${what.description}), collective ${what.collective}, wire ${what.wire}`,
          `prompt ${what.promptTokens}, written ${what.tokens}, median of ${what.runs} runs (least to most)`,
          `time to first token   ${show(figures.timeToFirstTokenMs, 0)} ms`,
          `prefill               ${show(figures.prefillTokensPerSecond)} tok/s`,
          `decode                ${show(figures.decodeTokensPerSecond)} tok/s`,
          `per written token     compute ${show(figures.computeMsPerToken)} ms, all-reduce ${show(figures.allReduceMsPerToken)} ms, other ${show(figures.otherMsPerToken)} ms (prefill included)`,
          `sent                  ${formatBytes(figures.bytesSentPerToken.median)} a token by rank 0 (prefill included)`,
          `event loop delay p99  ${show(figures.eventLoopDelayP99Ms)} ms`,
          `resident              ${figures.residentBytes.map((bytes, rank) => `${formatBytes(bytes)} (shard ${formatBytes(figures.shardBytes[rank])})`).join(', ')}`,
          `load                  ${figures.loadMs.toFixed(0)} ms`,
          ...(compared ? [`llama.cpp x ${compared.threads} threads: prefill ${show(compared.prefillTokensPerSecond)}, decode ${show(compared.decodeTokensPerSecond)} tok/s; ours over it: prefill ${show(compared.prefillRatio, 2)}, decode ${show(compared.decodeRatio, 2)}`] : []),
        ]
        process.stdout.write(`${lines.join('\n')}\n`)
      }
    } finally {
      await ring.stop()
    }
  } finally {
    llama?.stop()
  }
}

try {
  await run()
} catch (error) {
  process.exitCode = printFatal(error)
}
