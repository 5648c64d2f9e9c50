/** The processes of a benchmark, one per rank: started, joined into a ring over loopback, told what to do, stopped. */
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keyPairFromSeed } from '../shared/identity/keys.ts'
import { poolIdOf } from '../shared/identity/pool-certificate.ts'
import type { ModelShape, Quant } from '../shared/schema/model.ts'
import type { RingEpoch, RingMember } from '../shared/schema/ring.ts'
import type { Introduction, RankIdentity, Routed, RouteQuestion } from './rank-node.ts'
import { answerOf, forkRank, stopRank } from './rank-process.ts'
import { type LinkShape, ShapedNetwork } from './shaped-network.ts'

/** What every rank answers when it is ready to be connected. */
export interface Ready extends Introduction {
  readonly type: 'ready'
  /** Empty where nothing is sharded. */
  readonly ranges: RingMember['ranges']
}

/** Orders that every rank understands. */
export type RingOrder = { readonly type: 'connect'; readonly ring: RingEpoch } | { readonly type: 'stop' }

export interface Ranks<R extends Ready, Order> {
  readonly ready: readonly R[]
  /** What each rank said when it was linked. */
  readonly connected: readonly object[]
  /** Sends an order to one rank and waits for its answer of that type. */
  ask<T>(rank: number, order: Order, answer: string): Promise<T>
  askAll<T>(order: Order, answer: string): Promise<T[]>
  /** The port by which one rank reaches that port of another: its own, or that of a shaped link. */
  route(from: number, to: number, port: number): Promise<number>
  stop(): Promise<void>
}

export interface RanksOptions<Settings> {
  /** Module of one rank: it takes `Settings & RankIdentity` as its first message. */
  readonly program: string
  readonly workers: number
  readonly settings: Settings
  readonly shape: ModelShape
  readonly quant: Quant
  /** Absent: loopback as it is. */
  readonly link?: LinkShape
}

/** The ring as one rank sees it: those that it dials, the higher ones, are reached by their routes. */
const seenBy = async (
  rank: number,
  ring: RingEpoch,
  route: (from: number, to: number, port: number) => Promise<number>,
): Promise<RingEpoch> => ({
  ...ring,
  members: await Promise.all(
    ring.members.map(async (member) => {
      if (member.rank <= rank) return member
      const port = Number(/\/tcp\/(\d+)/.exec(member.addresses[0])?.[1])
      return { ...member, addresses: [`/ip4/127.0.0.1/tcp/${await route(rank, member.rank, port)}`] }
    }),
  ),
})

/** The ranks as an epoch of a ring. */
const ringOf = (
  rootSeed: string,
  ready: readonly Ready[],
  { quant, shape }: Pick<RingEpoch, 'quant'> & { readonly shape: ModelShape },
): RingEpoch => ({
  ringId: 'bench',
  poolId: poolIdOf(keyPairFromSeed(new Uint8Array(Buffer.from(rootSeed, 'hex'))).publicKey),
  epoch: 1,
  quant,
  model: { modelId: 'bench', revision: '0'.repeat(64), weightBytes: 0, shape },
  members: ready.map(({ deviceId, peerId, addresses, ranges }, rank) => ({
    deviceId,
    name: `rank ${rank}`,
    peerId,
    addresses,
    rank,
    share: 1,
    ranges,
  })),
})

/** A rank that does not know the others yet; it asks here for its routes. */
const startRank = (program: string, settings: RankIdentity, route: Ranks<Ready, never>['route']): ChildProcess => {
  const child = forkRank(program, settings)
  child.on('message', (message: RouteQuestion | { readonly type: 'other' }) => {
    if (message.type !== 'route') return
    const { from, to, port } = message
    void route(from, to, port).then((by) => child.send({ type: 'routed', to, port, by } satisfies Routed))
  })
  return child
}

/** @throws Error when a rank fails or ends */
export const startRanks = async <R extends Ready, Settings extends object, Order>(
  options: RanksOptions<Settings>,
): Promise<Ranks<R, Order>> => {
  const { program, workers, settings, link } = options
  const folder = mkdtempSync(join(tmpdir(), 'mesh-bench-'))
  const rootSeed = randomBytes(32).toString('hex')
  const children: ChildProcess[] = []
  const network = link && new ShapedNetwork(link, workers)
  const route: Ranks<R, Order>['route'] = async (from, to, port) => network?.route(from, to, port) ?? port
  const ask = <T>(rank: number, order: Order | RingOrder, answer: string): Promise<T> => {
    const answered = answerOf<T>(children[rank], answer)
    children[rank].send(order as object)
    return answered
  }
  const stop = async (): Promise<void> => {
    await Promise.all(children.map(stopRank))
    network?.close()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const ready: R[] = []
    for (let rank = 0; rank < workers; rank++) {
      const deviceSeed = randomBytes(32).toString('hex')
      const own = { ...settings, rank, worldSize: workers, rootSeed, deviceSeed, folder: join(folder, String(rank)) }
      children.push(startRank(program, own, route))
      // one after another: weights are written and loaded with all cores for one rank
      ready.push(await answerOf<R>(children[rank], 'ready'))
    }
    const ring = ringOf(rootSeed, ready, options)
    const connected = await Promise.all(
      children.map(async (_, rank) =>
        ask<object>(rank, { type: 'connect', ring: await seenBy(rank, ring, route) }, 'connected'),
      ),
    )
    return {
      ready,
      connected,
      route,
      ask,
      askAll: (order, answer) => Promise.all(children.map((_, rank) => ask(rank, order, answer))) as Promise<never[]>,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
