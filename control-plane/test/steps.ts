/** Steps that tests of rings and jobs have in common. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { Value } from 'typebox/value'
import { LedgerCheck } from '../../shared/ledger/verify.ts'
import type { LedgerEntry } from '../../shared/schema/credits.ts'
import { JobEvent } from '../../shared/schema/job.ts'
import { RingView } from '../../shared/schema/ring.ts'
import { FakeAgent, manifest, type TestDevice, type TestPool, timings } from './plane.ts'

export interface Ring {
  readonly agents: FakeAgent[]
  readonly ringId: string
  readonly epoch: number
}

export const join = (device: TestDevice, { poolId }: TestPool, url: string, change: object = {}): Promise<RingView> =>
  device
    .client(url)
    .call('joinRing', { params: { poolId }, body: { model: manifest, quant: 'q8', share: 1, ...change } })

/** The epoch that all agents were told last, with that many members. */
export const epochWith = async (
  agents: readonly FakeAgent[],
  worldSize: number,
): Promise<{ ringId: string; epoch: number }> => {
  let found = { ringId: '', epoch: 0 }
  for (const agent of agents) {
    for (;;) {
      const { ring } = await agent.next('ring-epoch')
      if (ring.members.length !== worldSize) continue
      found = { ringId: ring.ringId, epoch: ring.epoch }
      break
    }
  }
  return found
}

export const activeRing = async (t: TestContext, pool: TestPool, url: string, count: number): Promise<Ring> => {
  const devices = [
    pool.admin,
    ...(await Promise.all(Array.from({ length: count - 1 }, (_, index) => pool.member(`Member ${index + 1}`)))),
  ]
  const agents: FakeAgent[] = []
  for (const device of devices) {
    agents.push(await FakeAgent.connect(t, device, url))
    await join(device, pool, url)
  }
  const { ringId, epoch } = await epochWith(agents, count)
  for (const agent of agents) agent.ready(ringId, epoch)
  for (const agent of agents) assert.equal((await agent.next('ring-active')).epoch, epoch)
  return { agents, ringId, epoch }
}

export const view = async (pool: TestPool, url: string): Promise<RingView> => {
  const [ring] = await pool.admin.client(url).call('listRings', { params: { poolId: pool.poolId } })
  assert.ok(Value.Check(RingView, ring), JSON.stringify([...Value.Errors(RingView, ring)].slice(0, 2)))
  return ring
}

export const events = async (pool: TestPool, url: string, jobId: string, after?: number): Promise<JobEvent[]> => {
  const answer = await pool.admin.client(url).open('jobEvents', {
    params: { poolId: pool.poolId, jobId },
    headers: after === undefined ? {} : { 'last-event-id': String(after) },
  })
  const seen: JobEvent[] = []
  const parser = createParser({
    onEvent: ({ data, id }: EventSourceMessage) => {
      const event: unknown = JSON.parse(data)
      assert.ok(Value.Check(JobEvent, event), data)
      assert.equal(String(event.sequence), id)
      seen.push(event)
    },
  })
  const decoder = new TextDecoder()
  for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>)
    parser.feed(decoder.decode(chunk, { stream: true }))
  return seen
}

export const done = (
  jobId: string,
  epoch: number,
  text: string,
  tokens: number[],
): Parameters<FakeAgent['send']>[0] => ({
  type: 'job-done',
  jobId,
  epoch,
  text,
  tokens,
  finishReason: 'stop',
  usage: { promptTokens: 1, completionTokens: tokens.length, totalTokens: 1 + tokens.length },
  timings,
})

/** The ledger of a pool as its admin sees it, computed again whole. */
export const ledgerOf = async (pool: TestPool, url: string): Promise<LedgerEntry[]> => {
  const { entries } = await pool.admin.client(url).call('ledger', { params: { poolId: pool.poolId }, query: {} })
  const check = new LedgerCheck({ poolId: pool.poolId })
  check.push(entries)
  check.finish()
  return entries
}
