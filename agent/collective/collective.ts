/** The one operation that tensor parallelism needs of the network. */

/** Identifies one collective inside an epoch; all ranks call them in the same order with the same values. */
export interface OperationId {
  readonly job: number
  readonly step: number
  readonly operation: number
}

export interface Collective {
  readonly name: string
  readonly rank: number
  readonly worldSize: number
  /**
   * Sums `data` over all ranks in place; afterwards every rank holds identical bits.
   *
   * `data`: f32 [n], any n >= 0, the same n on every rank, owned by the caller until the promise settles.
   * @throws MeshError `peerLost` | `collectiveTimeout` | `frameInvalid`; `data` is then undefined and the job must stop
   */
  allReduce(data: Float32Array, id: OperationId): Promise<void>
}

/** A ring of one: nothing to add. */
export const soloCollective: Collective = {
  name: 'solo',
  rank: 0,
  worldSize: 1,
  allReduce: async () => {},
}
