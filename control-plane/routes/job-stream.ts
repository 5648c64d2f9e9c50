/** Server-sent events of one job: from the start, or after the last event that the client has seen. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { JobEvent } from '../../shared/schema/job.ts'
import type { Services } from '../service/services.ts'

/** Proxies cut connections that are silent for a minute; this also tells us when the client is gone. */
const keepAliveMs = 10_000

const lastSeen = (request: FastifyRequest): number => {
  const header = request.headers['last-event-id']
  return typeof header === 'string' && /^\d{1,12}$/.test(header) ? Number(header) : -1
}

/** @throws MeshError `notFound` before the stream begins */
export const streamJob = ({ jobs, jobStore, hub }: Services, request: FastifyRequest, reply: FastifyReply): void => {
  const { poolId, jobId } = request.params as { poolId: string; jobId: string }
  jobs.find(poolId, jobId)
  reply.hijack()
  const response = reply.raw
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' })
  let sent = lastSeen(request)
  const write = (event: JobEvent): void => {
    if (event.sequence <= sent) return // replayed and live may overlap
    sent = event.sequence
    response.write(`id: ${event.sequence}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
    if (event.type === 'end') end()
  }
  const keepAlive = setInterval(() => response.write(': still here\n\n'), keepAliveMs)
  const silence = hub.listen(jobId, write)
  const end = (): void => {
    clearInterval(keepAlive)
    silence()
    response.end()
  }
  request.raw.on('close', end)
  for (const event of jobStore.events(jobId, sent)) write(event)
}
