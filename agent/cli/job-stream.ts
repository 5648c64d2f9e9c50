/**
 * The events of a job, each exactly once, whatever happens to the connection: after a break the stream is opened again
 * after the last event seen. Between them come words on what the job waits for, which are not numbered. A stream that
 * is silent for long is checked against the job itself, so that a dead connection that nobody closed does not hang the
 * command.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { createParser } from 'eventsource-parser'
import { Value } from 'typebox/value'
import type { Client } from '../../shared/api/client.ts'
import { unreachable } from '../../shared/api/failures.ts'
import { headers } from '../../shared/headers.ts'
import { type ErrorCode, MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { type Job, JobEvent, JobWaiting } from '../../shared/schema/job.ts'
import { withTimeout } from '../../shared/with-timeout.ts'

export interface FollowOptions {
  readonly client: Client
  readonly poolId: string
  readonly jobId: string
  readonly signal: AbortSignal
  /** Milliseconds that the control plane may be away before the command gives up. */
  readonly absenceMs: number
  /** Milliseconds of silence after which the job is asked for. */
  readonly silenceMs?: number
  readonly now: () => number
}

/** Milliseconds between two attempts to open the stream. */
const retryMs = 300
const defaultSilenceMs = 15_000
/** Failures that end by themselves: it comes back, or somebody makes room on its disk. */
const passing: ReadonlySet<ErrorCode> = new Set(['controlPlaneUnreachable', 'storageFull', 'storageFailed'] as const)

const parseEvent = (data: string): JobEvent | JobWaiting => {
  let value: unknown
  try {
    value = JSON.parse(data)
  } catch (error) {
    throw new MeshError('controlPlaneProtocol', { problem: 'an event of the job is not JSON' }, error)
  }
  if (!Value.Check(JobEvent, value) && !Value.Check(JobWaiting, value))
    throw new MeshError('controlPlaneProtocol', {
      problem: `an event of the job has an unknown form: ${data.slice(0, 200)}`,
    })
  return value
}

const isOver = (job: Job): boolean => job.state === 'done' || job.state === 'failed' || job.state === 'cancelled'

type Reader = ReadableStreamDefaultReader<Uint8Array>

/** The next bytes; `undefined` when none came in time. The read goes on and is given by the next call. */
const createTimedRead = (
  reader: Reader,
  silenceMs: number,
): (() => Promise<Awaited<ReturnType<Reader['read']>> | undefined>) => {
  let pending: ReturnType<Reader['read']> | undefined
  return async () => {
    pending ??= reader.read()
    const result = await withTimeout(pending, silenceMs, () => undefined)
    if (result !== undefined) pending = undefined
    return result
  }
}

/** Events of one connection until it ends. `onSilence` may end it by giving a last event. */
async function* readStream(
  answer: Response,
  silenceMs: number,
  onSilence: () => Promise<JobEvent | undefined>,
): AsyncGenerator<JobEvent | JobWaiting> {
  if (answer.body === null) return
  const reader = answer.body.getReader()
  const read = createTimedRead(reader, silenceMs)
  const decoder = new TextDecoder()
  const events: (JobEvent | JobWaiting)[] = []
  const parser = createParser({
    onEvent: ({ data }) => events.push(parseEvent(data)),
    maxBufferSize: limits.requestBytes,
  })
  try {
    for (;;) {
      const part = await read()
      if (part === undefined) {
        const last = await onSilence()
        if (last !== undefined) yield last
        if (last !== undefined) return
      } else if (part.done) return
      else parser.feed(decoder.decode(part.value, { stream: true }))
      yield* events.splice(0)
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

/**
 * Ends after the event `end`.
 * @throws MeshError `controlPlaneUnreachable` (away for longer than `absenceMs`) | `controlPlaneProtocol` | what the
 * control plane answered
 */
export async function* followJob(options: FollowOptions): AsyncGenerator<JobEvent | JobWaiting> {
  const { client, poolId, jobId, signal, now, silenceMs = defaultSilenceMs } = options
  const params = { poolId, jobId }
  let last = -1
  let contact = now()
  const onSilence = async (): Promise<JobEvent | undefined> => {
    const job = await client.call('getJob', { params })
    contact = now()
    return isOver(job) ? { sequence: last + 1, type: 'end', job } : undefined
  }
  for (;;) {
    signal.throwIfAborted()
    let problem: unknown
    try {
      const answer = await client.open('jobEvents', {
        params,
        signal,
        headers: {
          accept: 'text/event-stream',
          [headers.events]: 'waiting',
          ...(last < 0 ? {} : { 'last-event-id': String(last) }),
        },
      })
      contact = now()
      for await (const event of readStream(answer, silenceMs, onSilence)) {
        contact = now()
        if (event.type === 'waiting') {
          yield event
          continue
        }
        if (event.sequence <= last) continue
        last = event.sequence
        yield event
        if (event.type === 'end') return
      }
    } catch (error) {
      signal.throwIfAborted()
      // a broken connection is no MeshError; what the control plane answered is, and asking again would not change it
      if (error instanceof MeshError && !passing.has(error.code)) throw error
      problem = error
    }
    if (now() - contact > options.absenceMs)
      throw problem instanceof MeshError ? problem : unreachable(client.url, 'the event stream ended', problem)
    await pause(retryMs, undefined, { signal })
  }
}
