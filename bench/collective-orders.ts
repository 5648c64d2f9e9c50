/** What a rank of the benchmark of collectives is told to do, and what it answers. */
import type { Algorithm, LinkCost } from '../agent/collective/chooser.ts'
import type { CarrierChoice } from '../agent/rank/open-carrier.ts'
import type { RingOrder } from './ranks.ts'

export type CollectiveOrder =
  | RingOrder
  /** All-reduces of that size, one after another. */
  | { readonly type: 'all-reduce'; readonly algorithm: Algorithm; readonly bytes: number; readonly count: number }
  /** What the links cost, as measured when they were opened. */
  | { readonly type: 'cost' }
  | { readonly type: 'raw-connect'; readonly port: number }
  | {
      readonly type: 'raw-exchange'
      readonly neighbour: 'left' | 'right'
      readonly bytes: number
      readonly count: number
    }
  | { readonly type: 'raw-stream'; readonly bytes: number; readonly sends: boolean; readonly receives: boolean }

export interface Probed {
  readonly type: 'cost'
  readonly cost: LinkCost
}

/** Milliseconds of each operation, in order. */
export interface Timed {
  readonly type: 'timed'
  readonly ms: readonly number[]
}

export interface CollectiveRankSettings {
  readonly carrier: CarrierChoice
}
