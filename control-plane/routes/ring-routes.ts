import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

export const ringRoutes = ({
  ringIntents,
  liveRings,
  ringStore,
  sums,
}: Services): Pick<Handlers, 'joinRing' | 'leaveRing' | 'removeRing' | 'listRings'> => ({
  joinRing: ({ caller, params, body }) => ringIntents.join(params.poolId, caller.deviceId, body),
  leaveRing: ({ caller, params, body }) => {
    ringIntents.leave(params.poolId, caller.deviceId, body.modelId)
    return { ok: true }
  },
  removeRing: ({ caller, params, body }) => ({
    ok: true,
    jobRuns: ringIntents.remove(params.poolId, caller, body.modelId),
  }),
  listRings: ({ params }) => ringStore.ofPool(params.poolId).map(({ ringId }) => sums.shown(liveRings.view(ringId))),
})
