import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

const defaultLimit = 20

export const jobRoutes = ({ jobs }: Services): Pick<Handlers, 'submitJob' | 'listJobs' | 'getJob' | 'cancelJob'> => ({
  submitJob: ({ caller, params, body }) => jobs.submit(params.poolId, caller, body),
  listJobs: ({ caller, params, query }) => jobs.list(params.poolId, query?.limit ?? defaultLimit, caller),
  getJob: ({ caller, params }) => jobs.find(params.poolId, params.jobId, caller),
  cancelJob: ({ caller, params }) => jobs.cancel(params.poolId, params.jobId, caller),
})
