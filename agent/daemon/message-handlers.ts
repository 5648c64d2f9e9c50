/** What the agent does with each message of its control plane: a table that lacks none of them. */
import type { ControlMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { MeshNode } from '../network/node.ts'
import type { ControlSession } from './control-session.ts'
import { relayAt } from './control-plane-url.ts'
import { answerJoinRequest, renewMember } from './pool-admin.ts'
import type { PoolNetwork } from './pool-network.ts'
import type { RingWork } from './ring-work.ts'

export type ControlHandlers = {
  readonly [Type in ControlMessage['type']]: (
    message: Extract<ControlMessage, { type: Type }>,
  ) => Promise<unknown> | unknown
}

export interface HandlerParts {
  readonly node: MeshNode
  readonly network: PoolNetwork
  readonly control: ControlSession
  readonly work: RingWork
  readonly logger: Logger
}

export const createHandlers = ({ node, network, control, work, logger }: HandlerParts): ControlHandlers => ({
  welcome: ({ relays = [] }) => {
    const { url } = control.client
    logger.info({ url }, 'connected to the control plane')
    node.learnRelays(relays.flatMap((relay) => relayAt(relay, url) ?? []))
    work.connected()
    network.connected()
    control.welcomed()
  },
  'ring-epoch': ({ ring }) => work.rings.enter(ring),
  // jobs come with it or later; nothing is to be done before
  'ring-active': () => {},
  'ring-trial': ({ ring }) => work.rings.try(ring),
  'ring-left-out': (message) => work.rings.leftOut(message),
  'ring-left': ({ ringId }) => work.rings.leave(ringId),
  'job-assign': (assignment) => work.jobs.run(assignment),
  'job-cancel': ({ jobId }) => work.jobs.cancel(jobId),
  'job-settled': ({ jobId }) => work.outbox.settled(jobId),
  'report-kept': ({ jobId }) => work.reports.kept(jobId),
  'join-request': ({ request }) => answerJoinRequest(network.admin, request),
  'renewal-request': (request) => renewMember(network.admin, request),
  certificate: ({ poolId, certificate }) => network.membership.receiveCertificate(poolId, certificate),
  revocations: ({ poolId, list }) => network.membership.receiveList(poolId, list),
  'control-plane-pin': ({ poolId, pin }) => network.pins.receiveFromControlPlane(poolId, pin),
  error: ({ error }) => logger.warn({ code: error.code }, MeshError.fromReport(error).message),
})

/**
 * Hands a message to its handler. Never throws: what the control plane passes on comes from others, and costs no more
 * than a warning.
 */
export const handle = async (handlers: ControlHandlers, message: ControlMessage, logger: Logger): Promise<void> => {
  try {
    await (handlers[message.type] as (message: ControlMessage) => unknown)(message)
  } catch (error) {
    const { code, message: problem } = MeshError.from(error)
    if (error instanceof MeshError) logger.warn({ type: message.type, code }, problem)
    else logger.error({ err: error, type: message.type }, problem)
  }
}
