/** One rank of the benchmark of collectives: a process with links as in an agent, and plain TCP beside them. */
import { openCarrier } from '../agent/rank/open-carrier.ts'
import {
  type AdjustableCollective,
  costOf,
  createCollective,
  type LinkCost,
  slowestOf,
} from '../agent/collective/chooser.ts'
import { probeLinks } from '../agent/links/link-probe.ts'
import { SocketEnds } from '../agent/channel/sockets/socket-ends.ts'
import { silentLogger } from '../shared/log.ts'
import type { RingEpoch } from '../shared/schema/ring.ts'
import type { CollectiveOrder, CollectiveRankSettings, Probed, Timed } from './collective-orders.ts'
import type { Connected } from './inference-orders.ts'
import {
  createRankNode,
  type RankIdentity,
  type RankNode,
  type RankProgram,
  routeOf,
  say,
  serveRank,
} from './rank-node.ts'
import { RawTcp } from './raw-tcp.ts'

type Options = CollectiveRankSettings & RankIdentity
type Order<Type> = Extract<CollectiveOrder, { type: Type }>

interface Linked {
  readonly collective: AdjustableCollective
  readonly cost: LinkCost
}

const link = async ({ rank, carrier }: Options, { streams }: RankNode, ring: RingEpoch): Promise<Linked> => {
  const { signal } = new AbortController()
  const logger = silentLogger()
  const channel = await streams.open({ ring, rank, signal })
  const ends = new SocketEnds()
  const { links: costs, streamsReason } = await openCarrier({
    ring,
    channel,
    host: {
      listen: (certificate, host) => ends.listen(certificate, host),
      connect: (plan) => ends.connect(plan),
      probe: () => probeLinks(ends.channel, { logger, pathTo: () => 'direct' }),
      close: () => ends.close(),
    },
    carrier,
    logger,
    signal,
    route: routeOf(rank),
  })
  const hasSockets = streamsReason === undefined
  say({ type: 'connected', carrier: hasSockets ? 'sockets' : 'streams' } satisfies Connected & { type: string })
  return { collective: createCollective(hasSockets ? ends.channel : channel), cost: costOf(slowestOf(costs)) }
}

/** @returns milliseconds of each. @throws Error when a sum is wrong */
const allReduce = async (
  collective: AdjustableCollective,
  { algorithm, bytes, count }: Order<'all-reduce'>,
  nextStep: () => number,
): Promise<number[]> => {
  const { rank, worldSize } = collective
  collective.use({ algorithm, wire: 'f32' })
  const data = new Float32Array(bytes / 4).fill(rank + 1)
  const reduce = (): Promise<void> => collective.allReduce(data, { job: 1, step: nextStep(), operation: 0 })
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

/** @returns milliseconds of sending, where this rank sends */
const stream = async (raw: RawTcp, { bytes, sends, receives }: Order<'raw-stream'>): Promise<number[]> => {
  const [ms] = await Promise.all([sends ? raw.stream(bytes) : 0, receives ? raw.drain(bytes) : undefined])
  return sends ? [ms] : []
}

const empty = { start: 0, end: 0 }

const start = async (options: Options): Promise<RankProgram<CollectiveOrder>> => {
  const node = await createRankNode(options)
  const raw = new RawTcp()
  let linked: Linked | undefined
  let step = 0
  const timed = (ms: readonly number[]): void => say({ type: 'timed', ms } satisfies Timed)

  const obey = async (order: CollectiveOrder): Promise<void> => {
    if (order.type === 'connect') linked = await link(options, node, order.ring)
    else if (order.type === 'all-reduce' && linked) timed(await allReduce(linked.collective, order, () => step++))
    else if (order.type === 'cost' && linked) say({ type: 'cost', cost: linked.cost } satisfies Probed)
    else if (order.type === 'raw-connect') {
      await raw.connect(order.port)
      say({ type: 'raw-connected' })
    } else if (order.type === 'raw-exchange') timed(await raw.exchange(order.neighbour, order.bytes, order.count))
    else if (order.type === 'raw-stream') timed(await stream(raw, order))
    else throw new Error(`${order.type}: not connected yet`)
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

serveRank(start)
