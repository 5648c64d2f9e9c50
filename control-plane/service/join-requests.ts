/** Requests to join a pool, as they are shown to who asked and to the admins. */
import type { JoinRequest } from '../../shared/schema/pool.ts'
import type { PoolStore, StoredJoinRequest } from '../store/pool-store.ts'

/** For the device that asked. */
export const requestView = ({ poolId, deviceId, name, createdAt, denied }: StoredJoinRequest): JoinRequest =>
  denied === null
    ? { poolId, deviceId, name, createdAt, status: 'pending' }
    : { poolId, deviceId, name, createdAt, status: 'denied', error: denied }

/** For admins: with the invite that one of them may hold. */
export const adminView = (request: StoredJoinRequest): JoinRequest => ({
  ...requestView(request),
  ...(request.invite === null ? {} : { invite: request.invite }),
})

export const requestsFor = (pools: PoolStore, poolId: string): JoinRequest[] => pools.requests(poolId).map(adminView)
