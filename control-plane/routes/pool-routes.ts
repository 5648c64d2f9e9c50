import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

export const poolRoutes = ({
  pools,
}: Services): Pick<Handlers, 'createPool' | 'getPool' | 'getCharter' | 'listPools' | 'listPeers'> => ({
  createPool: ({ caller, body }) => pools.create(body, caller.deviceId),
  getCharter: ({ params }) => ({ charter: pools.need(params.poolId).charter ?? undefined }),
  getPool: ({ params }) => pools.view(params.poolId),
  listPools: ({ caller }) => pools.ofDevice(caller.deviceId),
  listPeers: ({ params }) => pools.peers(params.poolId),
})
