import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { createClient } from '../../shared/api/client.ts'
import { MeshError } from '../../shared/errors.ts'
import { newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import type { Job, JobEvent, JobWaiting } from '../../shared/schema/job.ts'
import { type FollowOptions, followJob } from './job-stream.ts'

const poolId = 'ab'.repeat(32)
const job: Job = {
  jobId: 'job_1',
  poolId,
  submittedBy: 'cd'.repeat(32),
  state: 'done',
  worldSize: 2,
  epoch: 1,
  text: 'äöü',
  tokens: [1, 2, 3],
  createdAt: 1,
  submission: {
    modelId: 'm',
    prompt: 'p',
    maxTokens: 3,
    sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 },
    stop: [],
    idempotencyKey: '12345678',
  },
}
const events: JobEvent[] = [
  { sequence: 0, type: 'state', state: 'queued', worldSize: 0 },
  { sequence: 1, type: 'state', state: 'running', worldSize: 2 },
  { sequence: 2, type: 'tokens', firstIndex: 0, tokens: [1], text: 'ä' },
  { sequence: 3, type: 'tokens', firstIndex: 1, tokens: [2, 3], text: 'öü' },
  { sequence: 4, type: 'end', job },
]
const frame = (event: JobEvent): string =>
  `id: ${event.sequence}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`

type Answer = (response: ServerResponse, request: IncomingMessage) => void

/** A server that answers the n-th event request with the n-th function (the last one again and again). */
const serve = async (
  t: TestContext,
  streams: readonly Answer[],
  onJob: Answer = (response) => response.writeHead(500).end(),
): Promise<{
  follow(changes?: Partial<FollowOptions>): AsyncGenerator<JobEvent | JobWaiting>
  lastIds: (string | undefined)[]
}> => {
  const lastIds: (string | undefined)[] = []
  const server = createServer((request, response) => {
    if (!request.url?.endsWith('/events')) return onJob(response, request)
    const answer = streams[Math.min(lastIds.length, streams.length - 1)]
    lastIds.push(request.headers['last-event-id']?.toString())
    answer(response, request)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const client = createClient({
    url,
    key: newKeyPair(),
    certificateOf: () => undefined,
    controlPlaneKey: newControlPlaneKey().id,
    timeoutMs: 2000,
  })
  return {
    lastIds,
    follow: (changes = {}) =>
      followJob({
        client,
        poolId,
        jobId: 'job_1',
        signal: new AbortController().signal,
        absenceMs: 1000,
        now: Date.now,
        ...changes,
      }),
  }
}

const stream = (response: ServerResponse): ServerResponse =>
  response.writeHead(200, { 'content-type': 'text/event-stream' })
const collect = async (from: AsyncIterable<JobEvent | JobWaiting>): Promise<(JobEvent | JobWaiting)[]> => {
  const all: (JobEvent | JobWaiting)[] = []
  for await (const event of from) all.push(event)
  return all
}
const code =
  (wanted: string) =>
  (error: unknown): boolean =>
    error instanceof MeshError && error.code === wanted

describe('job stream', () => {
  it('every event is given once, the last is the end', async (t) => {
    const { follow } = await serve(t, [(response) => void stream(response).end(events.map(frame).join(''))])
    assert.deepEqual(await collect(follow()), events)
  })

  it('letters may be cut anywhere by the network', async (t) => {
    const bytes = Buffer.from(`: a comment\n\n${events.map(frame).join('')}`)
    const { follow } = await serve(t, [
      (response) => {
        stream(response)
        const send = (at: number): void => {
          if (at >= bytes.length) response.end()
          else response.write(bytes.subarray(at, at + 1), () => setImmediate(send, at + 1))
        }
        send(0)
      },
    ])
    assert.deepEqual(await collect(follow()), events)
  })

  it('after a break it goes on behind the last event seen; what comes twice is given once', async (t) => {
    const { follow, lastIds } = await serve(t, [
      (response) => stream(response).write(events.slice(0, 3).map(frame).join(''), () => response.destroy()),
      (response) => void stream(response).end(),
      (response) => void stream(response).end(events.slice(1).map(frame).join('')),
    ])
    assert.deepEqual(await collect(follow()), events)
    assert.deepEqual(lastIds, [undefined, '2', '2'])
  })

  it('what the job waits for comes between the events, and takes no number', async (t) => {
    const waiting: JobWaiting[] = [
      { type: 'waiting', before: 3, reason: '' },
      { type: 'waiting', before: 0, reason: 'B is loading' },
    ]
    const text = (one: JobWaiting): string => `event: waiting\ndata: ${JSON.stringify(one)}\n\n`
    const { follow, lastIds } = await serve(t, [
      (response) => stream(response).write(frame(events[0]) + text(waiting[0]), () => response.destroy()),
      (response) => void stream(response).end(text(waiting[1]) + events.slice(1).map(frame).join('')),
    ])
    assert.deepEqual(await collect(follow()), [events[0], ...waiting, ...events.slice(1)])
    assert.deepEqual(lastIds, [undefined, '0'])
  })

  it('a control plane with a full disk is asked again', async (t) => {
    const full = new MeshError('storageFull')
    const { follow } = await serve(t, [
      (response) => void response.writeHead(full.status).end(JSON.stringify({ error: full.toReport() })),
      (response) => void stream(response).end(events.map(frame).join('')),
    ])
    assert.deepEqual(await collect(follow()), events)
  })

  it('a silent connection is checked against the job', async (t) => {
    const { follow } = await serve(t, [(response) => void stream(response).write(frame(events[0]))], (response) =>
      response.end(JSON.stringify(job)),
    )
    assert.deepEqual(await collect(follow({ silenceMs: 50 })), [events[0], { sequence: 1, type: 'end', job }])
  })

  it('a silent connection of a job that runs stays open', async (t) => {
    let asked = 0
    const { follow, lastIds } = await serve(
      t,
      [(response) => void stream(response).write(frame(events[0]))],
      (response) => {
        asked++
        response.end(JSON.stringify({ ...job, state: asked < 3 ? 'running' : 'done' }))
      },
    )
    assert.equal((await collect(follow({ silenceMs: 30 }))).at(-1)?.type, 'end')
    assert.deepEqual([asked, lastIds.length], [3, 1])
  })

  it('an answer that says no ends it at once', async (t) => {
    const report = new MeshError('notFound', { what: 'job', id: 'job_1' }).toReport()
    const { follow, lastIds } = await serve(t, [
      (response) => void response.writeHead(404).end(JSON.stringify({ error: report })),
    ])
    await assert.rejects(collect(follow()), code('notFound'))
    assert.equal(lastIds.length, 1)
  })

  it('an event of unknown form is refused', async (t) => {
    for (const data of [
      '{"sequence":0,"type":"party"}',
      'no json',
      '{"sequence":-1,"type":"state","state":"queued","worldSize":0}',
    ]) {
      const { follow } = await serve(t, [(response) => void stream(response).end(`data: ${data}\n\n`)])
      await assert.rejects(collect(follow()), code('controlPlaneProtocol'))
    }
  })

  it('a control plane that stays away is named after the time allowed', async (t) => {
    const { follow, lastIds } = await serve(t, [
      (response) => stream(response).write(frame(events[0]), () => response.destroy()),
      (response) => void response.destroy(),
    ])
    await assert.rejects(collect(follow({ absenceMs: 500 })), code('controlPlaneUnreachable'))
    assert.ok(lastIds.length >= 2)
  })

  it('an interruption ends it at once', async (t) => {
    const { follow } = await serve(t, [(response) => void stream(response).write(frame(events[0]))])
    const interruption = new AbortController()
    const running = follow({ signal: interruption.signal })
    assert.deepEqual((await running.next()).value, events[0])
    const next = running.next()
    interruption.abort()
    await assert.rejects(next, { name: 'AbortError' })
  })
})
