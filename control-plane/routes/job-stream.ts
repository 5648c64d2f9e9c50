/** Server-sent events of one job: from the start, or after the last event that the client has seen. */
import type { ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { headers } from '../../shared/headers.ts'
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

/** Events that are read from the store at once: few, for what the reader does not take then is read once more. */
const pageEvents = 16
/** Milliseconds after which who reads nothing at all is gone. */
const unreadMs = 60_000

/** One stream: what its reader has not taken yet waits in the store, not in memory. */
class Stream {
  readonly #response: ServerResponse
  readonly #options: StreamOptions
  readonly #keepAlive: NodeJS.Timeout
  #sent: number
  #told = JSON.stringify({ type: 'waiting', before: 0, reason: '' } satisfies JobWaiting)
  /** Since when the reader takes nothing. */
  #fullSince: number | undefined

  constructor(response: ServerResponse, sent: number, options: StreamOptions) {
    this.#response = response
    this.#options = options
    this.#sent = sent
    this.#keepAlive = setInterval(() => this.#stay(), keepAliveMs)
    response.on('drain', () => {
      this.#fullSince = undefined
      options.background.run('sending what waits for a reader', () => this.catchUp())
    })
  }

  /** Sends what is stored, as far as the reader takes it. */
  catchUp(): void {
    while (this.#fullSince === undefined && !this.#response.writableEnded) {
      const events = this.#options.read(this.#sent)
      if (events.length === 0) return
      for (const event of events) this.#send(event)
    }
  }

  /** One that was stored just now. */
  event(event: JobEvent): void {
    if (event.sequence > this.#sent + 1) this.catchUp()
    else if (event.sequence > this.#sent) this.#send(event) // replayed and live may overlap
  }

  #send(event: JobEvent): void {
    if (this.#fullSince !== undefined) return
    this.#sent = event.sequence
    this.#write(`id: ${event.sequence}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
    if (event.type === 'end') this.#options.onEnd()
  }

  waiting(waiting: JobWaiting): void {
    const text = JSON.stringify(waiting)
    if (text === this.#told || this.#fullSince !== undefined) return
    this.#told = text
    this.#write(`event: waiting\ndata: ${text}\n\n`)
  }

  close(): void {
    clearInterval(this.#keepAlive)
    this.#response.end()
  }

  #stay(): void {
    if (this.#fullSince === undefined) this.#write(': still here\n\n')
    else if (performance.now() - this.#fullSince > unreadMs) this.#response.destroy()
  }

  #write(text: string): void {
    if (!this.#response.write(text)) this.#fullSince = performance.now()
  }
}

interface StreamOptions {
  readonly background: Services['background']
  /** Stored events after that one, some of them. */
  read(after: number): readonly JobEvent[]
  /** The last event is sent. */
  onEnd(): void
}

/** @throws MeshError `notFound` | `jobPrivate` | `overloaded` before the stream begins */
export const streamJob = (
  { jobs, jobStore, waiting, hub, background, textKeeper }: Services,
  request: FastifyRequest,
  reply: FastifyReply,
): void => {
  const { poolId, jobId } = request.params as { poolId: string; jobId: string }
  const caller = request.caller as Caller
  const who = caller.keyId ?? caller.deviceId
  const job = jobs.follow(poolId, jobId, caller)
  hub.checkRoom(who)
  const sent = lastSeen(request)
  const read = (after: number): JobEvent[] => jobStore.events(jobId, after, pageEvents)
  const isOver = finalStates.includes(job.state) && read(sent).length === 0
  reply.hijack()
  const response = reply.raw
  if (isOver) {
    // the client has seen the end: this status tells an EventSource not to come back
    response.writeHead(204).end()
    return
  }
  response.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  })
  response.flushHeaders() // the next event may be long in coming
  const end = (): void => {
    silence()
    stream.close()
  }
  const stream = new Stream(response, sent, {
    background,
    read,
    onEnd: () => {
      end()
      if (isSubmitter(job, caller)) textKeeper.wasRead(jobId)
    },
  })
  const isAsking = request.headers[headers.events] === 'waiting'
  const silence = hub.listen(
    jobId,
    { event: (event) => stream.event(event), ...(isAsking ? { waiting: (state) => stream.waiting(state) } : {}) },
    who,
  )
  response.on('error', () => {}) // the client is gone: `close` follows
  response.on('close', end)
  stream.catchUp()
  if (isAsking)
    background.run('telling what a job waits for', () => {
      const state = waiting.of(job)
      if (state) stream.waiting(state)
    })
}
