/** What is measured of links that are known, in how much time and by how many bytes: by a clock of the test. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Logger } from '../../shared/log.ts'
import type { RingLink } from '../../shared/schema/ring.ts'
import { dtypes, type FrameTag, phases } from '../../shared/wire/frame.ts'
import { assumedFigures } from '../collective/chooser.ts'
import { probeLinks } from './link-probe.ts'
import { createSlowChannels, type LinkModel, type SlowChannel } from './test/slow-channels.ts'
import { type VirtualTime, virtualTime } from './test/virtual-time.ts'

const KiB = 2 ** 10
const fast: LinkModel = { delayMs: () => 10, bytesPerSecond: 1e9 }

/** A log, and what was warned of. */
const listen = (): { readonly logger: Logger; readonly problems: string[] } => {
  const problems: string[] = []
  const warn = ({ problem }: { problem: string }): void => void problems.push(problem)
  return { logger: { warn } as unknown as Logger, problems }
}
const { logger } = listen()

const isEcho = ({ job, operation }: FrameTag): boolean => job === 0 && operation === 1
const echoTag = (chunk: number): FrameTag => ({ job: 0, step: 0, operation: 1, phase: phases.none, chunk })
const presence: FrameTag = { ...echoTag(0), operation: 0 }
const payloadOf = (size: number) => ({ dtype: dtypes.bytes, bytes: new Uint8Array(size) })

/** The rank sends only what may pass. */
const only = (channel: SlowChannel, passes: (tag: FrameTag) => boolean): SlowChannel => ({
  ...channel,
  bytesSent: 0,
  send: async (to, tag, payload) => {
    if (passes(tag)) await channel.send(to, tag, payload)
  },
})

/** Two ranks on such a link: what rank 0 found, and the sizes of what it sent to measure. */
const measure = async (
  t: TestContext,
  model: LinkModel,
): Promise<{ link: RingLink; pings: number; sizes: number[] }> => {
  const time = virtualTime(t)
  const channels = createSlowChannels(2, model, time.now)
  const [[link]] = await time.run(Promise.all(channels.map((channel) => probeLinks(channel, { logger }))))
  const sizes = channels[0].sizes.slice(1, channels[0].sizes.indexOf(0, 1))
  return { link, pings: sizes.filter((size) => size === 64).length, sizes: sizes.filter((size) => size > 64) }
}

const kinds: Readonly<
  Record<string, { model: LinkModel; pings: number; kib: readonly number[]; bytesPerSecond: number }>
> = {
  // one message of 64 KiB is all back before the next one leaves: it counts twice
  'so slow that 64 KiB are enough': {
    model: { delayMs: () => 10, bytesPerSecond: 1e6 },
    pings: 6,
    kib: [16, 64],
    bytesPerSecond: 0.5e6,
  },
  'so slow that 16 KiB are enough': {
    model: { delayMs: () => 10, bytesPerSecond: 2e5 },
    pings: 6,
    kib: [16],
    bytesPerSecond: 1e5,
  },
  'of 20 MB/s, measured by the largest transfer': {
    model: { delayMs: () => 10, bytesPerSecond: 20e6 },
    pings: 6,
    kib: [16, 64, 256, 1024, 2048],
    bytesPerSecond: 20e6,
  },
  'of 100 ms: two round trips are enough': {
    model: { delayMs: () => 50, bytesPerSecond: 20e6 },
    pings: 3,
    kib: [16, 64, 256, 1024, 2048],
    bytesPerSecond: 20e6,
  },
  'of 400 ms: one is enough, and one transfer': {
    model: { delayMs: () => 200, bytesPerSecond: 1e9 },
    pings: 2,
    kib: [16],
    bytesPerSecond: 16 * KiB * 10,
  },
}
for (const [name, { model, pings, kib, bytesPerSecond }] of Object.entries(kinds))
  test(`figures: a link ${name}`, async (t) => {
    const found = await measure(t, model)
    assert.ok(found.link.measured)
    const roundTripMs = 2 * model.delayMs(0)
    assert.ok(Math.abs(found.link.roundTripMs - roundTripMs) <= 2, `${found.link.roundTripMs} ms`)
    assert.equal(found.pings, pings)
    const pieces = kib.flatMap((size) => (size < 64 ? [size] : Array.from({ length: size / 64 }, () => 64)))
    assert.deepEqual(
      found.sizes,
      pieces.map((size) => size * KiB),
    )
    assert.ok(Math.abs(found.link.bytesPerSecond / bytesPerSecond - 1) < 0.15, `${found.link.bytesPerSecond} B/s`)
  })

test('figures: the round trip is the middle one of five, and the first, which may wait for the other rank, is none', async (t) => {
  const delays = [0, 300, 50, 10, 20, 5, 40]
  const { link } = await measure(t, { delayMs: (count) => delays[count] ?? 10, bytesPerSecond: 1e9 })
  assert.equal(link.roundTripMs, 40)
})

/** Rank 1 says only what may pass. @returns what the others found, when each was done, and what was warned of */
const beside = async (
  t: TestContext,
  worldSize: number,
  passes: (tag: FrameTag) => boolean,
  { roundMs, muted = 1 }: { roundMs?: number; muted?: number } = {},
): Promise<{ tables: readonly RingLink[][]; doneAt: readonly number[]; problems: readonly string[] }> => {
  const time = virtualTime(t)
  const { problems, ...log } = listen()
  const channels = createSlowChannels(worldSize, { ...fast, delayMs: () => 1 }, time.now)
  const doneAt: number[] = []
  const tables = await time.run(
    Promise.all(
      channels.map(async (channel, rank) => {
        const table = await probeLinks(rank === muted ? only(channel, passes) : channel, { ...log, roundMs })
        doneAt[rank] = time.now()
        return table
      }),
    ),
  )
  return { tables, doneAt, problems }
}
const near = (got: number, want: number): void => assert.ok(Math.abs(got - want) <= 20, `${got} ms, not ${want}`)

for (const [what, passes, ms] of [
  ['does not answer costs a round', (tag: FrameTag) => !isEcho(tag), 2500],
  ['says nothing costs a round and the time of a report', ({ job }: FrameTag) => job === 0, 2500 + 2000],
] as const)
  test(`figures: a rank that ${what}`, async (t) => {
    const { doneAt, tables, problems } = await beside(t, 2, (tag) => !isEcho(tag) && passes(tag))
    near(doneAt[0], ms)
    assert.deepEqual(tables[0], [{ from: 0, to: 1, ...assumedFigures, measured: false }])
    assert.ok(problems.includes('it took too long'), problems.join())
  })

test('figures: where there are many rounds each of them is shorter, and none waits for those before it', async (t) => {
  const { doneAt, tables } = await beside(t, 6, (tag) => !isEcho(tag))
  near(doneAt[0], 10_000)
  for (const { from, to, measured } of tables[0]) assert.equal(measured, from !== 1 && to !== 1, `${from}-${to}`)
})

test('figures: time that is given for a round holds; without a table ranks end with what is assumed', async (t) => {
  const { doneAt, tables } = await beside(t, 3, ({ job }) => job === 0, { roundMs: 500, muted: 0 })
  for (const rank of [1, 2]) {
    assert.ok(doneAt[rank] > 5000 && doneAt[rank] <= 3 * 500 + 2 * 2000 + 20, `${doneAt[rank]} ms`)
    assert.ok(tables[rank].every(({ measured }) => !measured))
  }
  // rank 0 knows what it measured, and what the others told it
  assert.ok(tables[0].every(({ measured }) => measured))
})

/** Rank 0 by hand, an honest rank 1. */
const byHand = (
  t: TestContext,
): { time: VirtualTime; own: SlowChannel; probing: Promise<unknown>; problems: string[] } => {
  const time = virtualTime(t)
  const { problems, ...log } = listen()
  const [own, other] = createSlowChannels(2, { ...fast, delayMs: () => 1 }, time.now)
  return { time, own, problems, probing: probeLinks(other, { ...log, roundMs: 60_000 }) }
}

test('figures: a rank sends back what a probe sends at most, and not a byte more', async (t) => {
  const { time, own, probing, problems } = byHand(t)
  await own.send(1, presence, payloadOf(0))
  const pieces = 64 // of 64 KiB: twice the largest transfer
  for (let chunk = 0; chunk < pieces; chunk++) {
    await own.send(1, echoTag(chunk), payloadOf(64 * KiB))
    assert.equal((await time.run(own.receive(1, echoTag(chunk)))).bytes.length, 64 * KiB)
  }
  await own.send(1, echoTag(pieces), payloadOf(1))
  await time.run(probing)
  assert.match(problems[0], new RegExp(`${4 * KiB * KiB + 1} bytes to measure a link`))
})

test('figures: a piece that is larger than those of a probe is not sent back', async (t) => {
  const { time, own, probing, problems } = byHand(t)
  await own.send(1, presence, payloadOf(0))
  await own.send(1, echoTag(0), payloadOf(64 * KiB + 1))
  await time.run(probing)
  assert.match(problems[0], /65537 bytes to measure a link/)
})

test('figures: a rank that has its links later is waited for, and costs no round', async (t) => {
  const time = virtualTime(t)
  const channels = createSlowChannels(2, { ...fast, delayMs: () => 1 }, time.now)
  const first = probeLinks(channels[0], { logger, roundMs: 500 })
  await time.run(new Promise<void>((resolve) => void setTimeout(resolve, 3000)))
  const [[link]] = await time.run(Promise.all([first, probeLinks(channels[1], { logger, roundMs: 500 })]))
  assert.ok(link.measured)
})
