/** The queue by itself, and a simulated week of a busy pool: real settlement, real shards, a seeded generator. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { entriesOf, type FinishedJob } from '../../shared/ledger/job-entries.ts'
import { heldWeights, planShards, weightsOf } from '../../shared/plan/shard-plan.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import { seeded } from '../test/seeded.ts'
import { FairQueue, type Turn, type Flow } from './fair-queue.ts'
import { contributionShares, type Contributor, queueWeights } from './queue-share.ts'

const wait = (flow: string, weight: number, since = 0): Flow => ({ flow, weight, since })

/** Runs jobs of `cost` tokens until `total` are served. @returns tokens by flow */
const serve = (
  queue: FairQueue,
  waiting: readonly Flow[],
  total: number,
  cost: (flow: string) => number = () => 100,
): Map<string, number> => {
  const served = new Map<string, number>()
  for (let all = 0; all < total;) {
    const turn = queue.begin(waiting) as Turn
    const tokens = cost(turn.flow)
    queue.end(turn, tokens)
    served.set(turn.flow, (served.get(turn.flow) ?? 0) + tokens)
    all += tokens
  }
  return served
}

test('queue: what is foreseen comes about, whatever was before, and foreseeing changes nothing', () => {
  const flow = fc.record({
    weight: fc.integer({ min: 1, max: 9 }),
    jobs: fc.integer({ min: 0, max: 5 }),
    since: fc.integer({ min: 0, max: 3 }),
  })
  const scenario = fc.record({
    flows: fc.array(flow, { maxLength: 5 }),
    before: fc.integer({ min: 0, max: 20 }),
    isRunning: fc.boolean(),
  })
  fc.assert(
    fc.property(scenario, ({ flows, before, isRunning }) => {
      const all = flows.map(({ jobs, ...one }, index) => ({
        ...one,
        flow: `f${index}`,
        jobs: Array.from({ length: jobs }, (_, number) => `f${index}/${number}`),
      }))
      const queue = new FairQueue()
      let turn: Turn | undefined
      for (let index = 0; index < before; index++) {
        turn = queue.begin(all.slice(0, 1 + (index % 3)))
        if (turn && (index < before - 1 || !isRunning)) queue.end(turn, 100)
      }
      const running = isRunning && before > 0 ? turn : undefined
      const waiting = all.filter(({ jobs }) => jobs.length > 0)
      const foreseen = queue.foresee(waiting, 100, running)
      assert.deepEqual(queue.foresee(waiting, 100, running), foreseen)
      if (running) queue.end(running, 100)
      const left = new Map(waiting.map((one) => [one.flow, [...one.jobs]]))
      const order: (string | undefined)[] = []
      while ([...left.values()].some((jobs) => jobs.length > 0)) {
        const next = queue.begin(waiting.filter((one) => (left.get(one.flow) ?? []).length > 0)) as Turn
        order.push(left.get(next.flow)?.shift())
        queue.end(next, 100)
      }
      assert.deepEqual(foreseen, order)
    }),
  )
})

test('queue: who contributes 10 % gets 10 % when all want it, and all of it when alone', () => {
  const queue = new FairQueue()
  const [small, large] = [wait('small', 10), wait('large', 90)]
  assert.deepEqual([...serve(queue, [small], 5000)], [['small', 5000]])
  const busy = serve(queue, [small, large], 100_000)
  assert.ok(Math.abs((busy.get('small') ?? 0) - 10_000) <= 200, `${busy.get('small')}`)
  assert.deepEqual([...serve(queue, [large], 5000)], [['large', 5000]])
})

test('queue: a flow that comes back waits for nobody else twice, and gets nothing for its absence', () => {
  const queue = new FairQueue()
  const [one, other] = [wait('one', 1), wait('other', 1)]
  serve(queue, [one], 100_000)
  assert.equal(queue.begin([one, other])?.flow, 'other')
  const after = serve(queue, [one, other], 20_000)
  assert.ok(Math.abs((after.get('one') ?? 0) - 10_000) <= 200)
})

test('queue: many queued jobs, or long ones, bring no more than few or short ones', () => {
  const served = serve(new FairQueue(), [wait('long', 1), wait('short', 1)], 200_000, (flow) =>
    flow === 'long' ? 2000 : 30,
  )
  assert.ok(Math.abs((served.get('long') ?? 0) - 100_000) <= 4000, JSON.stringify([...served]))
})

test('queue: the oldest goes first where tags are equal, and nobody waits when nobody is there', () => {
  assert.equal(new FairQueue().begin([wait('late', 9, 5), wait('early', 1, 4)])?.flow, 'early')
  assert.equal(new FairQueue().begin([]), undefined)
})

test('queue: flows that always wait are never apart by more than a job of each, for any weights and costs', () => {
  const flows = fc.array(
    fc.record({ weight: fc.integer({ min: 1, max: 1000 }), cost: fc.integer({ min: 1, max: 500 }) }),
    { minLength: 2, maxLength: 8 },
  )
  fc.assert(
    fc.property(flows, (all) => {
      const waiting = all.map(({ weight }, index) => wait(String(index), weight))
      const served = serve(new FairQueue(), waiting, 20_000, (flow) => all[Number(flow)].cost)
      const normal = all.map(({ weight }, index) => (served.get(String(index)) ?? 0) / weight)
      for (const [i, one] of all.entries())
        for (const [j, other] of all.entries()) {
          // the bound of the paper: max cost / weight of both
          assert.ok(Math.abs(normal[i] - normal[j]) <= one.cost / one.weight + other.cost / other.weight + 1e-6)
        }
    }),
  )
})

test('shares: in proportion to what was earned, with a floor, and a grace for newcomers that ends', () => {
  const members: Contributor[] = [
    { deviceId: 'a', earned: 900, since: 0 },
    { deviceId: 'b', earned: 100, since: 0 },
    { deviceId: 'c', earned: 0, since: 0 },
    { deviceId: 'd', earned: 0, since: 5000 },
  ]
  const grace = { graceMs: 1000, graceShare: 50_000 }
  assert.deepEqual([...contributionShares(members).values()], [900_000, 100_000, 0, 0])
  assert.deepEqual([...queueWeights(members, 5500, grace).values()], [900_000, 100_000, 1000, 50_000])
  assert.deepEqual([...queueWeights(members, 6000, grace).values()], [900_000, 100_000, 1000, 1000])
  assert.deepEqual([...queueWeights([members[2], members[3]], 9000, grace).values()], [500_000, 500_000])
})

const shape: ModelShape = {
  layers: 32,
  hidden: 4096,
  heads: 32,
  kvHeads: 32,
  headDim: 128,
  ffn: 11_008,
  vocab: 32_000,
  context: 4096,
}
const weekSeconds = 7 * 86_400
const tokensPerSecond = 20

for (const seed of [1, 2, 3]) {
  test(`week ${seed}: of ten unequal members each gets its share of tokens, within 2 % of it`, (t) => {
    const random = seeded(seed)
    const shares = Array.from({ length: 10 }, (_, index) => 1 + index)
    const plan = planShards(shape, shares)
    const devices = shares.map((_, index) => `device-${index}`)
    const workers = plan.map((ranges, index) => ({ deviceId: devices[index], weights: heldWeights(shape, ranges) }))
    const earned = new Map(devices.map((deviceId) => [deviceId, 0]))
    const tokensOf = new Map(devices.map((deviceId) => [deviceId, 0]))
    const queue = new FairQueue()
    let [seconds, jobs, sum, all] = [0, 0, 0, 0]
    while (seconds < weekSeconds) {
      const members = devices.map((deviceId) => ({ deviceId, earned: earned.get(deviceId) ?? 0, since: -1e12 }))
      const weights = queueWeights(members, seconds * 1000, { graceMs: 0, graceShare: 0 })
      // saturating: everybody always has something in the queue, some much and long, some little and short
      const turn = queue.begin(devices.map((flow) => wait(flow, weights.get(flow) ?? 0))) as Turn
      const size = devices.indexOf(turn.flow) % 3 === 0 ? 1500 : 300
      const tokens = 20 + Math.floor(random() * size)
      queue.end(turn, tokens)
      const job: FinishedJob = {
        jobId: `job_${jobs++}`,
        submittedBy: turn.flow,
        epoch: 1,
        modelWeights: weightsOf(shape),
        tokens,
        mostTokens: tokens,
        workers,
      }
      // ranks measure: their compute differs by a fifth from what the plan counted on
      const work = workers.map(({ deviceId, weights: held }) => ({
        deviceId,
        kind: 'work' as const,
        jobId: job.jobId,
        epoch: 1,
        weights: held,
        tokens,
        computeUs: Math.round(tokens * 40_000 * (0.8 + 0.4 * random())),
        signature: '',
      }))
      for (const entry of entriesOf(job, work, 0)) {
        sum += entry.amount
        if (entry.kind === 'work') earned.set(entry.deviceId, (earned.get(entry.deviceId) ?? 0) + entry.amount)
      }
      tokensOf.set(turn.flow, (tokensOf.get(turn.flow) ?? 0) + tokens)
      all += tokens
      seconds += tokens / tokensPerSecond
    }
    assert.equal(sum, 0)
    const total = [...earned.values()].reduce((a, b) => a + b, 0)
    // a share of the whole for each, against what its shards earned
    const off = devices.map(
      (deviceId) => (tokensOf.get(deviceId) ?? 0) / all / ((earned.get(deviceId) ?? 0) / total) - 1,
    )
    t.diagnostic(
      `${jobs} jobs; used against contributed: ${off.map((value) => `${(100 * value).toFixed(2)} %`).join(', ')}`,
    )
    for (const [index, value] of off.entries())
      assert.ok(Math.abs(value) < 0.02, `member ${index} is off by ${(100 * value).toFixed(2)} %`)
  })
}
