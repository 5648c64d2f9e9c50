/** One rank as another one checks it: when next, with what, and what came of it so far. */
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { BlockColumns } from '../model/quantize.ts'
import type { Sent } from './compare.ts'
import { Evidence } from './evidence.ts'
import { Instants } from './instants.ts'
import type { BackendKind } from './rounding.ts'

/** Half layers of a rank that are kept, so that a check can fall on any of them. */
export const halvesPerRank = 3
/** Checks after which a half makes way for one of another layer, as soon as that is cut. */
const checksPerHalf = 2

/** A half layer that is kept, or being cut. */
export interface Half {
  readonly number: number
  readonly layer: number
  readonly block: BlockColumns
  isCut: boolean
  checks: number
}

/** A check that is under way. */
export interface Pending {
  readonly rank: CheckedRank
  readonly half: number
  readonly sent: Sent
  readonly jobId?: string
  /** What came of it with weights in blocks of the usual width. */
  readonly firstError?: number
}

/** How a rank turned out to hold weights, and to round activations. */
interface Known {
  readonly kind: BackendKind
  readonly block: BlockColumns
}

/** What is told of a rank. */
export interface RankView {
  readonly rank: number
  readonly checks: number
  readonly wrong: number
  /** The largest error, as a fraction of the norm. */
  readonly worst: number
  readonly isWrong: boolean
  /** In which it was found wrong. */
  readonly jobs: string[]
  /** Times that its part did not arrive for itself. */
  readonly unseen: number
  /** Why it cannot be checked. */
  readonly problem?: string
}

export interface CheckedRank {
  readonly rank: number
  readonly ffn: Range
  readonly instants: Instants
  readonly evidence: Evidence
  readonly halves: Half[]
  readonly checksPerHalf: number
  unseen: number
  problem: string | undefined
  /** A check that waits for weights in other blocks. */
  waiting: Pending | undefined
  known: Known | undefined
  /** Neither width of blocks fitted what it sent: a third try would bring nothing. */
  isUnlike: boolean
  /** Once it is known how it computes, halves in other blocks go. */
  learn(known: Known, drop: (half: number) => void): void
  blockOf(half: number): BlockColumns
  /** Backends that may hold weights in such blocks, the likeliest first. */
  kindsFor(block: BlockColumns): BackendKind[]
  readonly view: RankView
}

export const createRank = (rank: number, ffn: Range, random: () => number): CheckedRank => ({
  rank,
  ffn,
  checksPerHalf,
  instants: new Instants(random),
  evidence: new Evidence(),
  halves: [],
  unseen: 0,
  problem: undefined,
  waiting: undefined,
  known: undefined,
  isUnlike: false,
  learn(known, drop) {
    if (this.known) return
    this.known = known
    for (const { number } of this.halves.filter(({ block }) => block !== known.block)) drop(number)
  },
  blockOf(half) {
    return this.halves.find(({ number }) => number === half)?.block ?? 32
  },
  kindsFor(block) {
    if (block === 128) return ['onnx']
    return this.known?.kind === 'onnx' ? ['onnx', 'ggml'] : ['ggml', 'onnx']
  },
  get view() {
    const { checks, wrong, worst, isWrong, jobs } = this.evidence
    const problem = sizeOf(ffn) === 0 ? 'it holds no MLP columns' : this.problem
    return {
      rank,
      checks,
      wrong,
      worst,
      isWrong,
      jobs,
      unseen: this.unseen,
      ...(problem === undefined ? {} : { problem }),
    }
  },
})
