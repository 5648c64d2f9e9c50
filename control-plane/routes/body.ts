/** Bodies of requests: read once it is known who sends them, hashed on the way, never more or longer than agreed. */
import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'

/** Bytes that the headers announce; `undefined`: they do not say. */
const announced = ({ headers: sent }: FastifyRequest): number | undefined => {
  if (sent['transfer-encoding'] !== undefined) return undefined
  return Number(sent['content-length'] ?? 0)
}

const tooLarge = ({ method, routeOptions: { url = '', bodyLimit } }: FastifyRequest): MeshError =>
  new MeshError('bodyTooLarge', { route: `${method} ${url}`, limitBytes: bodyLimit, promptLength: limits.promptLength })

/** By what the headers say, which costs nothing. @throws MeshError `bodyTooLarge` */
export const checkLength = (request: FastifyRequest): void => {
  if ((announced(request) ?? 0) > request.routeOptions.bodyLimit) throw tooLarge(request)
}

const receive = (request: FastifyRequest, payload: Readable): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const { bodyLimit } = request.routeOptions
    const hash = createHash('sha256')
    const chunks: Buffer[] = []
    let bytes = 0
    const waitMs = limits.bodyMs + (1000 * (announced(request) ?? bodyLimit)) / limits.bodyBytesPerSecond
    const giveUp = (error: MeshError): void => {
      clearTimeout(timer)
      payload.removeListener('data', take).pause()
      reject(error)
    }
    const timer = setTimeout(() => giveUp(new MeshError('bodyTooSlow', { seconds: Math.round(waitMs / 1000) })), waitMs)
    const take = (chunk: Buffer): void => {
      bytes += chunk.length
      if (bytes > bodyLimit) return giveUp(tooLarge(request))
      hash.update(chunk)
      chunks.push(chunk)
    }
    const gone = (): void => giveUp(new MeshError('requestInvalid', { problem: 'the body ended early' }))
    payload
      .on('data', take)
      .once('error', gone)
      .once('close', gone)
      .once('end', () => {
        clearTimeout(timer)
        request.bodyHash = hash.digest('hex')
        resolve(Buffer.concat(chunks))
      })
  })

/**
 * The JSON of a body. Sets the hash of what came, to be compared with the one that was signed.
 * @throws MeshError `bodyTooLarge` | `bodyTooSlow` | `requestInvalid`
 */
export const readBody = async (
  request: FastifyRequest,
  payload: Readable,
  check: (request: FastifyRequest) => void,
): Promise<unknown> => {
  const body = await receive(request, payload)
  check(request) // parsing costs more than the hash
  try {
    return JSON.parse(body.toString())
  } catch {
    throw new MeshError('requestInvalid', { problem: 'the body is not JSON' })
  }
}

/**
 * What the sender of a refused request still sends is not waited for: it has a moment to notice the answer, so that it
 * surely learns why, while a large rest stays where it is and a small one is passed over.
 */
export const dropRest = (request: FastifyRequest, reply: FastifyReply): void => {
  const { raw } = request
  if (raw.complete) return
  // reading that has begun and halts at the first full buffer: else Node would read on to the end for the next request
  if ((announced(request) ?? Infinity) > limits.bodyBytes) raw.pause().read(0)
  reply.raw.once('finish', () => {
    setTimeout(() => {
      if (!raw.complete) raw.socket.destroy()
    }, limits.lingerMs).unref()
  })
}
