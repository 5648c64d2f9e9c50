/** One rank of the benchmark of collectives: a process with links as in an agent, and plain TCP beside them. */
import type { CarrierChoice } from '../agent/rank/assemble-rank.ts'
import { openLinks } from '../agent/rank/open-links.ts'
import type { TensorChannel } from '../agent/channel/channel.ts'
import { type Algorithm, costOf, createCollective, type LinkCost, slowestOf } from '../agent/collective/chooser.ts'
import type { Collective } from '../agent/collective/collective.ts'
import { probeLinks } from '../agent/links/link-probe.ts'
import { SocketEnds } from '../agent/channel/sockets/socket-ends.ts'
import { silentLogger } from '../shared/log.ts'
import type { Connected } from './inference-rank.ts'
import { createRankNode, type RankIdentity, type RankProgram, routeOf, say, serveRank } from './rank-node.ts'
import type { RingOrder } from './ranks.ts'
import { RawTcp } from './raw-tcp.ts'

export type CollectiveOrder =
  | RingOrder
  /** All-reduces of that size, one after another. */
  | { readonly type: 'all-reduce'; readonly algorithm: Algorithm; readonly bytes: number; readonly count: number }
  /** What the links cost, as measured when they were opened. */
  | { readonly type: 'cost' }
  | { readonly type: 'raw-connect'; readonly port: number }
  | {
      readonly type: 'raw-exchange'
      readonly neighbour: 'left' | 'right'
      readonly bytes: number
      readonly count: number
    }
  | { readonly type: 'raw-stream'; readonly bytes: number; readonly sends: boolean; readonly receives: boolean }

export interface Probed {
  readonly type: 'cost'
  readonly cost: LinkCost
}

/** Milliseconds of each operation, in order. */
export interface Timed {
  readonly type: 'timed'
  readonly ms: readonly number[]
}

export interface CollectiveRankSettings {
  readonly carrier: CarrierChoice
}

const start = async (identity: CollectiveRankSettings & RankIdentity): Promise<RankProgram<CollectiveOrder>> => {
  const { rank, worldSize, carrier } = identity
  const node = await createRankNode(identity)
  const raw = new RawTcp()
  let use: (algorithm: Algorithm) => Collective = () => {
    throw new Error('not connected yet')
  }
  let cost: LinkCost = { alpha: 0, beta: 0 }
  let step = 0

  const allReduce = async (algorithm: Algorithm, bytes: number, count: number): Promise<number[]> => {
    const collective = use(algorithm)
    const data = new Float32Array(bytes / 4).fill(rank + 1)
    const reduce = (): Promise<void> => collective.allReduce(data, { job: 1, step: step++, operation: 0 })
    await reduce()
    const wanted = (worldSize * (worldSize + 1)) / 2
    if (!data.every((value) => value === wanted)) throw new Error(`${algorithm} of ${bytes} bytes gives a wrong sum`)
    data.fill(0) // sums of sums would run out of range
    const times: number[] = []
    for (let index = 0; index < count; index++) {
      const started = performance.now()
      await reduce()
      times.push(performance.now() - started)
    }
    return times
  }

  const stream = async (bytes: number, sends: boolean, receives: boolean): Promise<number[]> => {
    const [ms] = await Promise.all([sends ? raw.stream(bytes) : 0, receives ? raw.drain(bytes) : undefined])
    return sends ? [ms] : []
  }

  const obey = async (order: CollectiveOrder): Promise<void> => {
    if (order.type === 'connect') {
      const streams = await node.links.open({ ring: order.ring, rank, signal: new AbortController().signal })
      const ends = new SocketEnds()
      const reason = await openLinks({
        channel: streams,
        host: ends,
        epoch: order.ring.epoch,
        names: order.ring.members.map(({ name }) => name),
        wanted: carrier === 'auto',
        logger: silentLogger(),
        route: routeOf(rank),
      })
      const channel: TensorChannel = reason === undefined ? ends.channel : streams
      cost = costOf(
        slowestOf(await probeLinks(channel, { logger: silentLogger(), pathTo: (other) => streams.pathTo(other) })),
      )
      const collective = createCollective(channel)
      use = (algorithm) => {
        collective.use({ algorithm, wire: 'f32' })
        return collective
      }
      say({ type: 'connected', carrier: reason === undefined ? 'sockets' : 'streams' } satisfies Connected & {
        type: string
      })
    } else if (order.type === 'raw-connect') {
      await raw.connect(order.port)
      say({ type: 'raw-connected' })
    } else if (order.type === 'all-reduce')
      say({ type: 'timed', ms: await allReduce(order.algorithm, order.bytes, order.count) } satisfies Timed)
    else if (order.type === 'cost') say({ type: 'cost', cost } satisfies Probed)
    else if (order.type === 'raw-exchange')
      say({ type: 'timed', ms: await raw.exchange(order.neighbour, order.bytes, order.count) } satisfies Timed)
    else if (order.type === 'raw-stream')
      say({ type: 'timed', ms: await stream(order.bytes, order.sends, order.receives) } satisfies Timed)
  }

  say({
    type: 'ready',
    ...node.introduction,
    ranges: { kvHeads: empty, heads: empty, ffn: empty, vocab: empty },
    rawPort: await raw.listen(),
  })
  return {
    obey,
    stop: async () => {
      raw.close()
      await node.stop()
    },
  }
}

const empty = { start: 0, end: 0 }

serveRank(start)
