/** How a request fails: status, report, and whose turn it is to look at it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Services } from '../service/services.ts'
import { dropRest } from './body.ts'
import type { OlderDevices } from './older-devices.ts'

export interface Noted {
  readonly logger: Logger
  readonly background: Services['background']
  readonly olderDevices: OlderDevices
}

export const answerError = (
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { logger, background, olderDevices }: Noted,
): void => {
  background.note(error)
  if (error instanceof MeshError && error.code === 'protocolVersion') olderDevices.note(error, request.ip)
  dropRest(request, reply)
  const status =
    error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500
  const failure =
    error instanceof MeshError || status >= 500
      ? MeshError.from(error)
      : new MeshError('requestInvalid', { problem: (error as Error).message })
  if (failure.code === 'internal')
    logger.error({ err: error, method: request.method, path: request.url }, failure.message)
  // whoever is refused for now is told for how long, as HTTP clients know it
  if ('retryAfterSeconds' in failure.fields) void reply.header('retry-after', failure.fields.retryAfterSeconds)
  void reply.status(failure === error || status >= 500 ? failure.status : status).send({ error: failure.toReport() })
}
