/** The figures of `mesh bench`, for people. */
import type { InferenceReport, LlamaCppFigures, PhaseReport } from '../shared/schema/bench.ts'
import { formatBytes } from '../shared/words.ts'
import { show } from './spread.ts'

export interface InferenceTitle {
  readonly model: string | undefined
  readonly shape: string
  readonly quant: string
  readonly types: string | undefined
  readonly workers: number
  readonly threads: number
  readonly collective: string
  readonly wire: string
  readonly promptTokens: number
  readonly tokens: number
  readonly runs: number
  readonly rtt: number
  readonly mbit: number
}

export const linkText = ({ rtt, mbit }: Pick<InferenceTitle, 'rtt' | 'mbit'>): string =>
  `${rtt > 0 ? `, round trip ${rtt} ms` : ''}${mbit > 0 ? `, ${mbit} Mbit/s out of each rank` : ''}`

/** Where the time of rank 0 goes. */
const phaseLines = (title: string, phase: PhaseReport): string[] => [
  `${title.padEnd(21)} compute ${show(phase.computeMsPerToken, 2)} ms, ` +
    `all-reduce ${show(phase.allReduceMsPerToken, 2)} ms, other ${show(phase.otherMsPerToken, 2)} ms`,
  `                      processor: network ${show(phase.agentCpuMsPerToken, 2)} ms, ` +
    `compute ${show(phase.computeCpuMsPerToken, 2)} ms; sent ${formatBytes(phase.bytesPerToken.median)}; ` +
    `event loop delay p99 ${show(phase.loopDelayP99Ms)} ms`,
]

const besideLines = ({ threads, residentBytes, contexts, batches, ...prompt }: LlamaCppFigures): string[] => {
  const speeds = (one: Omit<typeof prompt, 'threads'>): string =>
    `prefill ${show(one.prefillTokensPerSecond)}, decode ${show(one.decodeTokensPerSecond)} tok/s; ours over it: ` +
    `prefill ${show(one.prefillRatio, 2)}, decode ${show(one.decodeRatio, 2)}`
  return [
    `llama.cpp x ${threads} threads, resident ${formatBytes(residentBytes)}: ${speeds(prompt)}`,
    ...contexts.map((one) => `  context ${one.context}: ${speeds(one)}`),
    ...batches.map(
      (one) =>
        `  ${one.sequences} sequences: decode ${show(one.decodeTokensPerSecond)} tok/s; ours over it: ` +
        show(one.decodeRatio, 2),
    ),
  ]
}

export const printInference = (title: InferenceTitle, report: InferenceReport): string => {
  const { llamaCpp } = report
  return [
    `${title.model ?? title.shape}, ${title.types ?? title.quant}, ${title.workers} x ${title.threads || 'free'} threads, ` +
      `${report.backend} (${report.description}), collective ${title.collective}, ` +
      `wire ${title.wire}${report.carrier ? `, over ${report.carrier}` : ''}${linkText(title)}`,
    `prompt ${title.promptTokens}, written ${title.tokens}, median of ${title.runs} runs (least to most)`,
    `time to first token   ${show(report.timeToFirstTokenMs, 0)} ms`,
    `prefill               ${show(report.prefillTokensPerSecond)} tok/s`,
    `decode                ${show(report.decodeTokensPerSecond)} tok/s`,
    ...phaseLines('a token read', report.prefill),
    ...phaseLines('a written token', report.decode),
    ...report.contexts.map(
      (one) =>
        `context ${String(one.context).padEnd(13)} decode ${show(one.decodeTokensPerSecond)} tok/s, ` +
        `${show(one.decodeRatio, 2)} of the first; prefill ${show(one.prefillTokensPerSecond)} tok/s, ` +
        `event loop delay p99 ${show(one.prefillLoopDelayP99Ms)} ms`,
    ),
    ...report.batches.map(
      (one) =>
        `${String(one.sequences).padStart(3)} sequences         decode ${show(one.decodeTokensPerSecond)} tok/s, ` +
        `${show(one.ratio, 2)} of the first`,
    ),
    'resident              ' +
      `${report.residentBytes.map((bytes, rank) => `${formatBytes(bytes)} (shard ${formatBytes(report.shardBytes[rank])})`).join(', ')}`,
    `load                  ${report.loadMs.toFixed(0)} ms (weights cut or made up before in ` +
      `${report.shardMs.toFixed(0)} ms)`,
    ...(llamaCpp ? besideLines(llamaCpp) : []),
  ].join('\n')
}
