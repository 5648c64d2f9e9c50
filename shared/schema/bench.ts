/** What `mesh bench --json` prints. How each figure is measured: `bench/METHOD.md`. */
import { Type } from 'typebox'
import { Count } from './common.ts'
import { Algorithm, Carrier, CollectiveChoice } from './ring.ts'

/** Repeated measurements. */
export const Spread = Type.Object({ median: Type.Number(), min: Type.Number(), max: Type.Number() })
export type Spread = Type.Static<typeof Spread>

const speeds = { prefillTokensPerSecond: Spread, decodeTokensPerSecond: Spread }

/** Where the time of rank 0 goes. */
export const PhaseReport = Type.Object({
  computeMsPerToken: Spread,
  allReduceMsPerToken: Spread,
  otherMsPerToken: Spread,
  agentCpuMsPerToken: Spread,
  computeCpuMsPerToken: Spread,
  bytesPerToken: Spread,
  loopDelayP99Ms: Spread,
})
export type PhaseReport = Type.Static<typeof PhaseReport>

/** A prompt of another length. */
export const ContextFigures = Type.Object({
  context: Count,
  ...speeds,
  decodeRatio: Type.Object(Spread.properties, {
    description: 'decode over that behind the first length of the list, round by round',
  }),
  prefillLoopDelayP99Ms: Spread,
})
export type ContextFigures = Type.Static<typeof ContextFigures>

export const BatchFigures = Type.Object({
  sequences: Count,
  decodeTokensPerSecond: Type.Object(Spread.properties, { description: 'of all sequences together' }),
  ratio: Type.Object(Spread.properties, { description: 'over the first size of the list, round by round' }),
})
export type BatchFigures = Type.Static<typeof BatchFigures>

const besideSpeeds = {
  ...speeds,
  prefillRatio: Type.Object(Spread.properties, { description: 'ours over llama.cpp, pair by pair' }),
  decodeRatio: Spread,
}

export const LlamaCppFigures = Type.Object({
  threads: Count,
  residentBytes: Type.Number(),
  ...besideSpeeds,
  contexts: Type.Array(Type.Object({ context: Count, ...besideSpeeds })),
  batches: Type.Array(Type.Object({ sequences: Count, decodeTokensPerSecond: Spread, decodeRatio: Spread })),
})
export type LlamaCppFigures = Type.Static<typeof LlamaCppFigures>

export const InferenceReport = Type.Object({
  backend: Type.String(),
  description: Type.String(),
  carrier: Type.Optional(Carrier),
  timeToFirstTokenMs: Spread,
  ...speeds,
  prefill: PhaseReport,
  decode: PhaseReport,
  contexts: Type.Array(ContextFigures),
  batches: Type.Array(BatchFigures),
  residentBytes: Type.Array(Type.Number(), { description: 'by rank' }),
  shardBytes: Type.Array(Type.Number(), { description: 'by rank' }),
  shardMs: Type.Number(),
  loadMs: Type.Number(),
  diskBytes: Type.Number({ description: 'in the temporary folder, while it runs' }),
  llamaCpp: Type.Optional(LlamaCppFigures),
})
export type InferenceReport = Type.Static<typeof InferenceReport>

/** What every run is told. */
const settings = { workers: Count, collective: CollectiveChoice, runs: Count, rtt: Type.Number(), mbit: Type.Number() }

export const InferenceBench = Type.Object({
  ...settings,
  model: Type.Optional(Type.String({ description: 'folder or GGUF file' })),
  shape: Type.Optional(Type.String()),
  threads: Count,
  quant: Type.String(),
  types: Type.Optional(Type.String({ description: 'of random weights' })),
  wire: Type.String(),
  promptTokens: Count,
  tokens: Count,
  ...InferenceReport.properties,
})

const measured = {
  workers: Count,
  bytes: Count,
  algorithm: Algorithm,
  chosen: Type.Boolean({ description: 'auto would take it' }),
}

export const LatencyFigure = Type.Object({
  ...measured,
  ms: Spread,
  rawExchangeMs: Type.Object(Spread.properties, {
    description: 'two processes send each other as many bytes over plain TCP',
  }),
  ratio: Type.Object(Spread.properties, { description: 'ours over plain TCP, round by round' }),
})
export type LatencyFigure = Type.Static<typeof LatencyFigure>

export const BandwidthFigure = Type.Object({
  ...measured,
  busBandwidth: Type.Object(Spread.properties, { description: '2 (P - 1) / P * bytes / time, in bytes a second' }),
  rawStream: Type.Object(Spread.properties, {
    description: 'one plain TCP stream from rank 0 to rank 1, in bytes a second',
  }),
  rawStreams: Type.Object(Spread.properties, {
    description: 'the same for each rank while all send to their right neighbour at once',
  }),
  ratio: Spread,
  ratioToStreams: Spread,
})
export type BandwidthFigure = Type.Static<typeof BandwidthFigure>

export const CollectivesReport = Type.Object({
  latency: Type.Array(LatencyFigure),
  bandwidth: Type.Array(BandwidthFigure),
})
export type CollectivesReport = Type.Static<typeof CollectivesReport>

export const CollectivesBench = Type.Object({ ...settings, ...CollectivesReport.properties })

/** With `--collectives` the second form. */
export const BenchReport = Type.Union([InferenceBench, CollectivesBench])
