import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

export const creditRoutes = ({ credits }: Services): Pick<Handlers, 'confirmUse' | 'credits' | 'quota' | 'ledger'> => ({
  confirmUse: ({ caller, params, body }) => {
    credits.confirm(caller.deviceId, params.poolId, params.jobId, body)
    return { ok: true }
  },
  credits: ({ params }) => credits.view(params.poolId),
  quota: ({ caller, params }) => credits.quota(params.poolId, caller.deviceId),
  ledger: ({ params, query }) => credits.page(params.poolId, query ?? {}),
})
