import { isSubmitter } from '../domain/job-readers.ts'
import { finalStates } from '../domain/job-state.ts'
import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

const defaultLimit = 20

export const jobRoutes = ({
  jobs,
  textKeeper,
}: Services): Pick<Handlers, 'submitJob' | 'listJobs' | 'getJob' | 'cancelJob'> => ({
  submitJob: ({ caller, params, body }) => jobs.submit(params.poolId, caller, body),
  listJobs: ({ caller, params, query }) => jobs.list(params.poolId, query?.limit ?? defaultLimit, caller),
  getJob: ({ caller, params }) => {
    const job = jobs.find(params.poolId, params.jobId, caller)
    if (isSubmitter(job, caller) && finalStates.includes(job.state)) textKeeper.wasRead(job.jobId)
    return job
  },
  cancelJob: ({ caller, params }) => jobs.cancel(params.poolId, params.jobId, caller),
})
