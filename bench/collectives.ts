/** `mesh bench --collectives`: all-reduces between processes, beside plain TCP between the same ones. */
import { fileURLToPath } from 'node:url'
import type { CarrierChoice } from '../agent/rank/open-carrier.ts'
import { type Algorithm, choose, type CollectiveChoice, type LinkCost } from '../agent/collective/chooser.ts'
import type { CollectiveOrder, Probed, Timed } from './collective-orders.ts'
import { type Ranks, type Ready, startRanks } from './ranks.ts'
import type { LinkShape } from './shaped-network.ts'
import type { CollectivesReport } from '../shared/schema/bench.ts'
import { spread } from './spread.ts'

export interface CollectivesOptions {
  /** World sizes are 2 and this. */
  readonly workers: number
  readonly algorithm: CollectiveChoice
  readonly carrier: CarrierChoice
  /** Rounds. Every figure is taken once in each, so that all see the same moods of the machine. */
  readonly runs: number
  readonly link?: LinkShape
}

interface Measured {
  readonly workers: number
  readonly bytes: number
  readonly algorithm: Algorithm
  /** `auto` would take it. */
  readonly chosen: boolean
}

interface LatencySample extends Measured {
  readonly ms: number
  readonly rawMs: number
}

interface BandwidthSample extends Measured {
  readonly bus: number
  readonly one: number
  readonly all: number
}

type CollectiveRanks = Ranks<Ready & { readonly rawPort: number }, CollectiveOrder>

/** With what rank 0 measured of the links, and how they are slowed. */
type Group = CollectiveRanks & { readonly cost: LinkCost; readonly link: LinkShape | undefined }

const program = fileURLToPath(new URL('./collective-rank.ts', import.meta.url))
export const latencyBytes = [1, 4, 8, 16, 64].map((kib) => kib * 1024)
export const bandwidthBytes = [1, 4, 16, 64].map((mib) => mib * 2 ** 20)
const algorithmNames: readonly Algorithm[] = ['ring', 'direct', 'recursive-doubling']
/** Each figure of a round is the median of as many operations as fit into this, of small ones and of large ones. */
const latencyMs = 100
const bandwidthMs = 600
/** Large ones: buffers, windows of TCP and the garbage collector settle within the first few. */
const leastLarge = 6
const slowestMs = 2000
const mostOperations = 300
/** Nothing is sharded, but a ring epoch names a shape. */
const shape = { layers: 1, hidden: 1, heads: 1, kvHeads: 1, headDim: 2, ffn: 1, vocab: 1, context: 1 }

const connectRaw = async ({ ready, ask, route }: Group): Promise<void> => {
  await Promise.all(
    ready.map(async (_, rank) => {
      const right = (rank + 1) % ready.length
      await ask(rank, { type: 'raw-connect', port: await route(rank, right, ready[right].rawPort) }, 'raw-connected')
    }),
  )
}

/** Sizes that pass a shaped link in less than `slowestMs`; the least always. */
const sizesFor = (link: LinkShape | undefined): number[] =>
  bandwidthBytes.filter((bytes, index) => index === 0 || !link?.mbit || bytes / (link.mbit * 125) < slowestMs)

const median = (values: readonly number[]): number => spread(values).median

/**
 * Milliseconds of one operation. All ranks must agree how often it is repeated, so the first try decides. The first
 * half only warms up.
 */
const repeated = async (
  time: (count: number) => Promise<readonly number[]>,
  { forMs = latencyMs, least = 1 } = {},
): Promise<number> => {
  const [first] = await time(1)
  const count = Math.max(least, Math.min(mostOperations, Math.floor(forMs / first)))
  if (count <= 1) return first
  const times = await time(count)
  return median(times.slice(times.length >> 1))
}

/** Slow links are not made to carry the same often. */
const effortFor = (bytes: number, link: LinkShape | undefined): Parameters<typeof repeated>[1] =>
  bytes < bandwidthBytes[0] || link ? {} : { forMs: bandwidthMs, least: leastLarge }

const allReduceMs = ({ askAll, link }: Group, algorithm: Algorithm, bytes: number): Promise<number> =>
  repeated(
    async (count) => (await askAll<Timed>({ type: 'all-reduce', algorithm, bytes, count }, 'timed'))[0].ms,
    effortFor(bytes, link),
  )

const rawExchangeMs = ({ ask }: Group, bytes: number): Promise<number> =>
  repeated(async (count) => {
    const exchange = (rank: number, neighbour: 'left' | 'right'): Promise<Timed> =>
      ask(rank, { type: 'raw-exchange', neighbour, bytes, count }, 'timed')
    return (await Promise.all([exchange(0, 'right'), exchange(1, 'left')]))[0].ms
  })

/** Bytes a second from rank 0 to rank 1; with `all`, of the slowest rank while each sends to its right neighbour. */
const rawStream = async (
  { ready, ask }: Group,
  { streamBytes, all }: { readonly streamBytes: number; readonly all: boolean },
): Promise<number> => {
  const last = ready.length - 1
  const timed = await Promise.all(
    ready.map((_, rank) =>
      ask<Timed>(
        rank,
        {
          type: 'raw-stream',
          bytes: streamBytes,
          sends: all || rank === 0,
          receives: all || rank === Math.min(1, last),
        },
        'timed',
      ),
    ),
  )
  return streamBytes / (Math.max(...timed.flatMap(({ ms }) => ms)) / 1000)
}

const figuresOf = <S extends Measured, F>(
  samples: readonly S[],
  figure: (samples: readonly S[]) => F,
): (Measured & F)[] =>
  [...Map.groupBy(samples, ({ workers, bytes, algorithm }) => `${workers}/${bytes}/${algorithm}`).values()].map(
    (same) => {
      const { workers, bytes, algorithm, chosen } = same[0]
      return { workers, bytes, algorithm, chosen, ...figure(same) }
    },
  )

const isChosen = ({ ready, cost }: Group, bytes: number, algorithm: Algorithm): boolean =>
  choose(ready.length, bytes, cost) === algorithm

const measureLatency = async (group: Group, algorithms: readonly Algorithm[]): Promise<LatencySample[]> => {
  const workers = group.ready.length
  const samples: LatencySample[] = []
  for (const bytes of latencyBytes) {
    const rawMs = await rawExchangeMs(group, bytes)
    for (const algorithm of algorithms)
      samples.push({
        workers,
        bytes,
        algorithm,
        chosen: isChosen(group, bytes, algorithm),
        rawMs,
        ms: await allReduceMs(group, algorithm, bytes),
      })
  }
  return samples
}

/** Of the ring and of what `auto` takes; the others only cost time here, unless one was asked for. */
const measureBandwidth = async (
  group: Group,
  algorithms: readonly Algorithm[],
  sizes: readonly number[],
): Promise<BandwidthSample[]> => {
  const workers = group.ready.length
  const samples: BandwidthSample[] = []
  const streamBytes = Math.max(...sizes)
  for (const bytes of sizes) {
    const one = await rawStream(group, { streamBytes, all: false })
    const all = await rawStream(group, { streamBytes, all: true })
    for (const algorithm of algorithms) {
      const chosen = isChosen(group, bytes, algorithm)
      if (algorithms.length > 1 && !chosen && algorithm !== 'ring') continue
      const ms = await allReduceMs(group, algorithm, bytes)
      samples.push({
        workers,
        bytes,
        algorithm,
        chosen,
        one,
        all,
        bus: (((2 * (workers - 1)) / workers) * bytes) / (ms / 1000),
      })
    }
  }
  return samples
}

export const benchCollectives = async ({
  workers,
  algorithm,
  carrier,
  runs,
  link,
}: CollectivesOptions): Promise<CollectivesReport> => {
  const algorithms = algorithmNames.filter((one) => algorithm === 'auto' || one === algorithm)
  const latency: LatencySample[] = []
  const bandwidth: BandwidthSample[] = []
  for (const worldSize of new Set([2, workers])) {
    const ranks: CollectiveRanks = await startRanks({
      program,
      workers: worldSize,
      settings: { carrier },
      shape,
      quant: 'f32',
      link,
    })
    try {
      const group: Group = { ...ranks, link, cost: (await ranks.ask<Probed>(0, { type: 'cost' }, 'cost')).cost }
      await connectRaw(group)
      // warms up
      await measureLatency(group, algorithms)
      await measureBandwidth(group, algorithms, bandwidthBytes.slice(0, 1))
      for (let run = 0; run < runs; run++) {
        latency.push(...(await measureLatency(group, algorithms)))
        bandwidth.push(...(await measureBandwidth(group, algorithms, sizesFor(link))))
      }
    } finally {
      await ranks.stop()
    }
  }
  return {
    latency: figuresOf(latency, (same) => ({
      ms: spread(same.map(({ ms }) => ms)),
      rawExchangeMs: spread(same.map(({ rawMs }) => rawMs)),
      ratio: spread(same.map(({ ms, rawMs }) => ms / rawMs)),
    })),
    bandwidth: figuresOf(bandwidth, (same) => ({
      busBandwidth: spread(same.map(({ bus }) => bus)),
      rawStream: spread(same.map(({ one }) => one)),
      rawStreams: spread(same.map(({ all }) => all)),
      ratio: spread(same.map(({ bus, one }) => bus / one)),
      ratioToStreams: spread(same.map(({ bus, all }) => bus / all)),
    })),
  }
}
