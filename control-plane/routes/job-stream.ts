/** Server-sent events of one job: from the start, or after the last event that the client has seen. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { headers } from '../../shared/api/routes.ts'
import type { JobEvent, JobWaiting } from '../../shared/schema/job.ts'
import { isSubmitter } from '../domain/job-readers.ts'
import { finalStates } from '../domain/job-state.ts'
import type { Services } from '../service/services.ts'
import type { Caller } from './access.ts'

/** Proxies cut connections that are silent for a minute; this also tells us when the client is gone. */
const keepAliveMs = 10_000

const lastSeen = (request: FastifyRequest): number => {
  const header = request.headers['last-event-id']
  return typeof header === 'string' && /^\d{1,12}$/.test(header) ? Number(header) : -1
}

/** @throws MeshError `notFound` | `jobPrivate` before the stream begins */
export const streamJob = ({ jobs, jobStore, hub, background, textKeeper }: Services, request: FastifyRequest, reply: FastifyReply): void => {
  const { poolId, jobId } = request.params as { poolId: string; jobId: string }
  const job = jobs.follow(poolId, jobId, request.caller as Caller)
  let sent = lastSeen(request)
  const missed = jobStore.events(jobId, sent)
  reply.hijack()
  const response = reply.raw
  if (missed.length === 0 && finalStates.includes(job.state)) {
    // the client has seen the end: this status tells an EventSource not to come back
    response.writeHead(204).end()
    return
  }
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' })
  response.flushHeaders() // the next event may be long in coming
  const write = (event: JobEvent): void => {
    if (event.sequence <= sent) return // replayed and live may overlap
    sent = event.sequence
    response.write(`id: ${event.sequence}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
    if (event.type !== 'end') return
    end()
    if (isSubmitter(job, request.caller as Caller)) textKeeper.wasRead(jobId)
  }
  let told = JSON.stringify({ type: 'waiting', before: 0, reason: '' } satisfies JobWaiting)
  const tell = (waiting: JobWaiting): void => {
    const text = JSON.stringify(waiting)
    if (text !== told) response.write(`event: waiting\ndata: ${text}\n\n`)
    told = text
  }
  const isAsking = request.headers[headers.events] === 'waiting'
  const keepAlive = setInterval(() => response.write(': still here\n\n'), keepAliveMs)
  const silence = hub.listen(jobId, { event: write, ...(isAsking ? { waiting: tell } : {}) })
  response.on('error', () => {}) // the client is gone: `close` follows
  const end = (): void => {
    clearInterval(keepAlive)
    silence()
    response.end()
  }
  response.on('close', end)
  for (const event of missed) write(event)
  if (isAsking) background.run('telling what a job waits for', () => {
    const waiting = jobs.waiting.of(job)
    if (waiting) tell(waiting)
  })
}
