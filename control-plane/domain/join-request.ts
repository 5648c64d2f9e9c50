/** Requests to join a pool: whether one more may wait, and how they are shown to who asked and to the admins. */
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { InviteProof, JoinRequest } from '../../shared/schema/pool.ts'

/** A request that was not signed yet. */
export interface OpenRequest {
  readonly poolId: string
  readonly deviceId: string
  readonly name: string
  readonly createdAt: number
  readonly invite: InviteProof | null
  /** Why it was denied; null while it waits. */
  readonly denied: ErrorReportJson | null
}

/** For the device that asked. */
export const requestView = ({ poolId, deviceId, name, createdAt, denied }: OpenRequest): JoinRequest =>
  denied === null
    ? { poolId, deviceId, name, createdAt, status: 'pending' }
    : { poolId, deviceId, name, createdAt, status: 'denied', error: denied }

/** For admins: with the invite that one of them may hold. */
export const adminView = (request: OpenRequest): JoinRequest => ({
  ...requestView(request),
  ...(request.invite === null ? {} : { invite: request.invite }),
})

/** The device asks for the pool whose key it was told. @throws MeshError `poolKeyMismatch` */
export const checkPoolKey = (pool: { readonly poolId: string; readonly rootPublicKey: string }, told: string): void => {
  if (pool.rootPublicKey !== told) throw new MeshError('poolKeyMismatch', { poolId: pool.poolId })
}

/** @param waiting requests of the pool, denied ones too @throws MeshError `overloaded` */
export const checkJoinRoom = (isKnown: boolean, waiting: number): void => {
  if (!isKnown && waiting >= limits.joinRequests)
    throw new MeshError('overloaded', { what: 'the list of join requests of this pool', limit: limits.joinRequests })
}
