/** The one operation that tensor parallelism needs of the network. */
import type { WireType } from './wire-types.ts'

/** Identifies one collective inside an epoch; all ranks call them in the same order with the same values. */
export interface OperationId {
  readonly job: number
  readonly step: number
  readonly operation: number
}

/** Gets what other ranks sent for one operation, before it is added: for spot checks. */
export type PartSink = (part: { readonly rank: number; readonly bytes: Uint8Array; readonly wire: WireType }) => void

export interface Collective {
  readonly name: string
  readonly rank: number
  readonly worldSize: number
  /**
   * Sums `data` over all ranks in place; afterwards every rank holds identical bits.
   *
   * `data`: f32 [n], any n >= 0, the same n on every rank, owned by the caller until the promise settles.
   * @param sink called with the part of each other rank, where they arrive one by one: in a direct exchange that needs
   * one frame. The bytes hold until it returns.
   * @throws MeshError `peerLost` | `collectiveTimeout` | `frameInvalid`; `data` is then undefined and the job must stop
   */
  allReduce(data: Float32Array, id: OperationId, sink?: PartSink): Promise<void>
}

/** A ring of one: nothing to add. */
export const soloCollective: Collective = {
  name: 'solo',
  rank: 0,
  worldSize: 1,
  allReduce: async () => {},
}
