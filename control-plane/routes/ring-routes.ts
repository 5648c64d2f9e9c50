import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

export const ringRoutes = ({
  rings,
  ringStore,
  sums,
}: Services): Pick<Handlers, 'joinRing' | 'leaveRing' | 'removeRing' | 'listRings'> => ({
  joinRing: ({ caller, params, body }) => rings.join(params.poolId, caller.deviceId, body),
  leaveRing: ({ caller, params, body }) => {
    rings.leave(params.poolId, caller.deviceId, body.modelId)
    return { ok: true }
  },
  removeRing: ({ caller, params, body }) => ({ ok: true, jobRuns: rings.remove(params.poolId, caller, body.modelId) }),
  listRings: ({ params }) => ringStore.ofPool(params.poolId).map(({ ringId }) => sums.shown(rings.view(ringId))),
})
