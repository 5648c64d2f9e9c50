/** What a rank of the benchmark of inference is told to do, and what it answers. */
import type { CollectiveSettings } from '../agent/collective/chooser.ts'
import type { CarrierChoice } from '../agent/rank/open-carrier.ts'
import type { Timings } from '../shared/schema/job.ts'
import type { Carrier } from '../shared/schema/ring.ts'
import type { BatchOrder } from './batch.ts'
import type { CpuMs } from './process-figures.ts'
import type { RingOrder } from './ranks.ts'
import type { LinkShape } from './shaped-network.ts'
import type { WeightSettings } from './weights.ts'

export interface InferenceSettings extends WeightSettings {
  /** 0: as an agent does, as many as there are free cores. */
  readonly threads: number
  readonly spinMs: number
  readonly collective: CollectiveSettings
  readonly carrier: CarrierChoice
  /** Ranks check each other's sums when they are told to; wants a model folder. */
  readonly spotChecks?: boolean
}

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
  /** Told what it will write and hold, before it does. */
  onRoom?(room: Room): void
}

/** What a benchmark writes and holds. */
export interface Room {
  /** Bytes in the temporary folder, while it runs. */
  readonly disk: number
  /** Bytes of weights in memory, of all processes. */
  readonly memory: number
}

export type InferenceOrder =
  | RingOrder
  | ({ readonly type: 'run' } & PromptOrder)
  | ({ readonly type: 'batch' } & BatchOrder)
  | { readonly type: 'measure' }
  /** Answered when no check is under way and nothing is being cut. */
  | { readonly type: 'checks'; readonly on: boolean }

export interface PromptOrder {
  readonly promptTokens: number
  readonly tokens: number
}

/** What rank 0 did while it read the prompt, or while it wrote. */
export interface PhaseFigures {
  readonly wallMs: number
  /** Waiting for the backend. */
  readonly computeMs: number
  /** Waiting for sums, and starting them. */
  readonly collectiveMs: number
  readonly cpu: CpuMs
  readonly bytesSent: number
  /** 99th percentile. */
  readonly loopDelayMs: number
}

export interface RunResult {
  readonly timings: Timings
  readonly tokens: number
  readonly prefill: PhaseFigures
  readonly decode: PhaseFigures
}

export interface Batched {
  readonly type: 'batched'
  /** Milliseconds of all decode steps. */
  readonly decodeMs: number
}

/** What a rank says once it is linked. */
export interface Connected {
  readonly carrier: Carrier | undefined
}

export interface RankMemory {
  readonly residentBytes: number
  readonly shardBytes: number
}
