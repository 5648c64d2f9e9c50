import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

const defaultLimit = 20

export const jobRoutes = ({ jobs, jobStore }: Services): Pick<Handlers, 'submitJob' | 'listJobs' | 'getJob' | 'cancelJob'> => ({
  submitJob: ({ caller, params, body }) => jobs.submit(params.poolId, caller, body),
  listJobs: ({ params, query }) => jobStore.list(params.poolId, query?.limit ?? defaultLimit),
  getJob: ({ caller, params }) => jobs.find(params.poolId, params.jobId, caller),
  cancelJob: ({ caller, params }) => jobs.cancel(params.poolId, params.jobId, caller),
})
