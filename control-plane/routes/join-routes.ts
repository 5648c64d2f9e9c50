import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

export const joinRoutes = ({
  pools,
  joinRequests,
}: Services): Pick<Handlers, 'requestJoin' | 'getJoin' | 'listJoins' | 'denyJoin' | 'publishCertificate'> => ({
  requestJoin: ({ caller, params, body }) => joinRequests.ask(pools.need(params.poolId), caller.deviceId, body),
  getJoin: ({ caller, params }) => joinRequests.of(pools.need(params.poolId), caller.deviceId),
  listJoins: ({ params }) => joinRequests.waiting(params.poolId),
  denyJoin: ({ params, body }) => {
    joinRequests.deny(params.poolId, body.deviceId, body.error)
    return { ok: true }
  },
  publishCertificate: ({ params, body }) => {
    joinRequests.publish(pools.need(params.poolId), body.certificate)
    return { ok: true }
  },
})
