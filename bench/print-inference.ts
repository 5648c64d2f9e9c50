/** The figures of `mesh bench`, for people. */
import { formatBytes } from '../shared/units.ts'
import type { InferenceReport } from './inference.ts'
import { show } from './spread.ts'

export interface InferenceTitle {
  readonly shape: string
  readonly quant: string
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

export const printInference = (title: InferenceTitle, report: InferenceReport): string => {
  const { llamaCpp } = report
  return [
    `${title.shape}, ${title.quant}, ${title.workers} x ${title.threads} threads, ${report.backend} (${report.description}), collective ${title.collective}, wire ${title.wire}${linkText(title)}`,
    `prompt ${title.promptTokens}, written ${title.tokens}, median of ${title.runs} runs (least to most)`,
    `time to first token   ${show(report.timeToFirstTokenMs, 0)} ms`,
    `prefill               ${show(report.prefillTokensPerSecond)} tok/s`,
    `decode                ${show(report.decodeTokensPerSecond)} tok/s`,
    `per written token     compute ${show(report.computeMsPerToken)} ms, all-reduce ${show(report.allReduceMsPerToken)} ms, other ${show(report.otherMsPerToken)} ms (prefill included)`,
    `sent                  ${formatBytes(report.bytesSentPerToken.median)} a token by rank 0 (prefill included)`,
    `event loop delay p99  ${show(report.eventLoopDelayP99Ms)} ms`,
    `resident              ${report.residentBytes.map((bytes, rank) => `${formatBytes(bytes)} (shard ${formatBytes(report.shardBytes[rank])})`).join(', ')}`,
    `load                  ${report.loadMs.toFixed(0)} ms`,
    ...(llamaCpp ? [`llama.cpp x ${llamaCpp.threads} threads: prefill ${show(llamaCpp.prefillTokensPerSecond)}, decode ${show(llamaCpp.decodeTokensPerSecond)} tok/s; ours over it: prefill ${show(llamaCpp.prefillRatio, 2)}, decode ${show(llamaCpp.decodeRatio, 2)}`] : []),
  ].join('\n')
}
