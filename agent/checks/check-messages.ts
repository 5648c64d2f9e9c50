/** What the agent and the thread that checks say to each other. */
import type { Quant } from '../../shared/schema/model.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { WireType } from '../collective/wire-types.ts'
import type { ModelSpec } from '../model/architecture/model-spec.ts'
import type { BlockColumns } from '../model/quantize.ts'
import type { BackendKind } from './rounding.ts'

export interface CheckThreadInput {
  readonly modelFolder: string
  /** Hashes of the pieces of each tensor; without them what is read is taken as it is. */
  readonly digests: ReadonlyMap<string, Uint8Array> | undefined
  readonly spec: ModelSpec
  readonly quant: Quant
  /** Where half layers are kept. */
  readonly folder: string
  /** Of the time, while the ring computes, in which a half is cut that nobody waits for; 1: at full speed. */
  readonly cuttingShare: number
  /** i32 [1]: 1 while the ring computes. */
  readonly busy: SharedArrayBuffer
}

export type ToThread =
  /** Cut a half layer. `inHaste`: also while the ring computes, as fast as it goes. */
  | {
      readonly type: 'cut'
      readonly half: number
      readonly layer: number
      readonly ffn: Range
      readonly block: BlockColumns
      readonly inHaste: boolean
    }
  | { readonly type: 'drop'; readonly half: number }
  | {
      readonly type: 'check'
      readonly check: number
      readonly half: number
      readonly x: Float32Array
      readonly part: Float32Array
      readonly wire: WireType
      readonly kinds: readonly BackendKind[]
    }

export type FromThread =
  | { readonly type: 'cut'; readonly half: number }
  | { readonly type: 'failed'; readonly half: number; readonly problem: string }
  /** The half was dropped before the check came. */
  | { readonly type: 'gone'; readonly check: number }
  | {
      readonly type: 'checked'
      readonly check: number
      readonly kind: BackendKind
      readonly error: number
      /** Of processor. */ readonly tookMs: number
    }
