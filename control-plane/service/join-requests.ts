/** Requests to join a pool, as they are shown to its admins. */
import type { JoinRequest } from '../../shared/schema/pool.ts'
import type { PoolStore, StoredJoinRequest } from '../store/pool-store.ts'

export const pending = ({ poolId, deviceId, name, createdAt }: StoredJoinRequest): JoinRequest => ({ poolId, deviceId, name, createdAt, status: 'pending' })

export const requestsFor = (pools: PoolStore, poolId: string): JoinRequest[] => pools.requests(poolId).map(pending)
