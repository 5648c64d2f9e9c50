import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

export const lockRoutes = ({ locks }: Services): Pick<Handlers, 'getLock' | 'recordLock'> => ({
  getLock: ({ caller }) => ({ statement: locks.statement(caller.deviceId) }),
  recordLock: ({ caller, body }) => ({ statement: locks.record(caller.deviceId, body.statement) }),
})
