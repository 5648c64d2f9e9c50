/** Measuring of links between ranks of one process: agreement, and ranks that do not play by the rules. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLogger } from '../../shared/log.ts'
import type { RingLink } from '../../shared/schema/ring.ts'
import { encodeCbor } from '../../shared/wire/envelope.ts'
import { dtypes, type FrameTag, phases } from '../../shared/wire/frame.ts'
import type { Channel } from '../channel/channel.ts'
import { assumedFigures } from '../collective/chooser.ts'
import { probeLinks } from './link-probe.ts'
import { createMemoryChannels } from '../channel/test/memory-channel.ts'
import { partnerOf, roundsOf } from './pairing.ts'
import { virtualTime } from './test/virtual-time.ts'

const logger = silentLogger()
const pairsOf = (worldSize: number): string[] =>
  Array.from({ length: worldSize }, (_, a) =>
    Array.from({ length: worldSize - a - 1 }, (__, b) => `${a}-${a + 1 + b}`),
  ).flat()

test('pairing: every two ranks meet once, and each has one partner at a time', () => {
  for (let worldSize = 2; worldSize <= 64; worldSize++) {
    const met: string[] = []
    for (let round = 0; round < roundsOf(worldSize); round++) {
      for (let rank = 0; rank < worldSize; rank++) {
        const other = partnerOf(rank, round, worldSize)
        if (other === undefined) continue
        assert.equal(partnerOf(other, round, worldSize), rank)
        if (rank < other) met.push(`${rank}-${other}`)
      }
    }
    assert.deepEqual(met.toSorted(), pairsOf(worldSize).toSorted(), `${worldSize} ranks`)
  }
})

for (const worldSize of [2, 3, 4, 5, 8]) {
  test(`probe of ${worldSize}: all links are measured, and all ranks have the same figures`, async () => {
    const channels = createMemoryChannels(worldSize)
    const tables = await Promise.all(channels.map((channel) => probeLinks(channel, { logger, pathTo: () => 'direct' })))
    for (const table of tables) assert.deepEqual(table, tables[0])
    assert.deepEqual(
      tables[0].map(({ from, to }) => `${from}-${to}`),
      pairsOf(worldSize),
    )
    for (const link of tables[0])
      assert.ok(
        link.measured && link.path === 'direct' && link.roundTripMs > 0 && link.bytesPerSecond > 0,
        JSON.stringify(link),
      )
  })
}

/** Answers like an honest rank, except where the test says otherwise. */
const badRank = (channel: Channel, change: (tag: FrameTag, bytes: Uint8Array) => Uint8Array | undefined): Channel => ({
  ...channel,
  bytesSent: 0,
  send: async (to, tag, { dtype, bytes }) => {
    const changed = change(tag, bytes)
    if (changed) await channel.send(to, tag, { dtype, bytes: changed })
  },
})

const echoOperation = 1
const tableJob = 0xffff_ffff
const link = (change: Partial<RingLink>): RingLink => ({
  from: 1,
  to: 2,
  roundTripMs: 1,
  bytesPerSecond: 1,
  measured: true,
  ...change,
})

const offences: Readonly<
  Record<
    string,
    {
      readonly change: (tag: FrameTag, bytes: Uint8Array) => Uint8Array | undefined
      readonly unmeasured: readonly string[]
    }
  >
> = {
  'an echo of another length': {
    change: (tag, bytes) =>
      tag.job === 0 && tag.operation === echoOperation ? bytes.subarray(0, bytes.length - 1) : bytes,
    unmeasured: ['0-1'],
  },
  'no echo': {
    change: (tag, bytes) => (tag.job === 0 && tag.operation === echoOperation ? undefined : bytes),
    unmeasured: ['0-1', '1-2'],
  },
  'pieces that are too large': {
    change: (tag, bytes) => (tag.job === 0 && bytes.length > 64 ? new Uint8Array(10 * 2 ** 20) : bytes),
    unmeasured: ['0-1', '1-2'],
  },
  'a report that is no report': {
    change: (tag, bytes) => (tag.job === tableJob ? Uint8Array.from([255, 1, 2]) : bytes),
    unmeasured: ['1-2'],
  },
  'a report with figures that cannot be': {
    change: (tag, bytes) => (tag.job === tableJob ? encodeCbor([link({ roundTripMs: NaN })]) : bytes),
    unmeasured: ['1-2'],
  },
  'a report of infinite speed': {
    change: (tag, bytes) => (tag.job === tableJob ? encodeCbor([link({ bytesPerSecond: Infinity })]) : bytes),
    unmeasured: ['1-2'],
  },
  'a report on links of others': {
    change: (tag, bytes) =>
      tag.job === tableJob
        ? encodeCbor([link({ from: 0, to: 2, roundTripMs: 3e6 }), link({ to: 0 }), link({ to: 70 })])
        : bytes,
    unmeasured: ['1-2'],
  },
  'no report': { change: (tag, bytes) => (tag.job === tableJob ? undefined : bytes), unmeasured: ['1-2'] },
}

for (const [name, { change, unmeasured }] of Object.entries(offences)) {
  test(`probe: ${name} of rank 1 costs it figures and nothing else`, async (t) => {
    const time = virtualTime(t)
    const channels = createMemoryChannels(3)
    const tables = await time.run(
      Promise.all(
        [channels[0], badRank(channels[1], change), channels[2]].map((channel) =>
          probeLinks(channel, { logger, roundMs: 1000 }),
        ),
      ),
    )
    assert.ok(time.now() < 3 * 1000 + 2 * 2000 + 100, `${time.now()} ms`)
    assert.deepEqual(tables[2], tables[0])
    assert.equal(tables[0].length, 3)
    for (const { from, to, measured, roundTripMs, bytesPerSecond } of tables[0]) {
      const isExpected = unmeasured.includes(`${from}-${to}`)
      if (!isExpected && from + to === 2) assert.ok(measured, `${from}-${to}`) // 0-2 has nothing to do with rank 1
      if (!isExpected) continue
      assert.equal(measured, false, `${from}-${to}`)
      assert.ok(roundTripMs <= 1000 && bytesPerSecond > 1000)
    }
    // what came too late for the probe does not come up again
    const tag: FrameTag = { job: 1, step: 0, operation: 0, phase: phases.exchange, chunk: 0 }
    await channels[0].send(2, tag, { dtype: dtypes.f32, bytes: new Uint8Array(4) })
    assert.equal((await time.run(channels[2].receive(0, tag))).bytes.length, 4)
  })
}

test('probe: a rank 0 that sends garbage as the table leaves the others with assumed figures', async () => {
  const channels = createMemoryChannels(3)
  const bad = badRank(channels[0], (tag, bytes) => (tag.job === tableJob ? Uint8Array.from([0xa1]) : bytes))
  const [, second, third] = await Promise.all(
    [bad, channels[1], channels[2]].map((channel) => probeLinks(channel, { logger })),
  )
  for (const table of [second, third])
    for (const one of table)
      assert.deepEqual([one.measured, one.roundTripMs, one.bytesPerSecond], [false, ...Object.values(assumedFigures)])
})

test('probe: a rank that dies meanwhile ends it for the others at once', async (t) => {
  const time = virtualTime(t)
  const channels = createMemoryChannels(3)
  const running = [channels[0], channels[2]].map((channel) => probeLinks(channel, { logger }))
  setImmediate(() => channels[1].kill())
  for (const table of await time.run(Promise.all(running))) assert.equal(table.length, 3)
  assert.ok(time.now() < 1000, `${time.now()} ms`)
})
