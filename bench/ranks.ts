/** The processes of a benchmark, one per rank: started, joined into a ring over loopback, told what to do, stopped. */
import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keyPairFromSeed } from '../shared/identity/keys.ts'
import { poolIdOf } from '../shared/identity/pool-certificate.ts'
import { nodeFlags } from '../shared/node-flags.ts'
import type { ModelShape, Quant } from '../shared/schema/model.ts'
import type { RingEpoch, RingMember } from '../shared/schema/ring.ts'
import type { Introduction, RankIdentity, Routed, RouteQuestion } from './rank-node.ts'
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

/** Time for a rank to close its links and end its compute process. */
const stopMs = 10_000

/** The next message of that type. @throws Error when the rank fails or ends */
const next = <T>(child: ChildProcess, type: string): Promise<T> =>
  new Promise((resolve, reject) => {
    const onMessage = (message: { type: string; problem?: string }): void => {
      if (message.type === 'failed') settle(() => reject(new Error(message.problem)))
      else if (message.type === type) settle(() => resolve(message as T))
    }
    const onExit = (code: number | null): void => settle(() => reject(new Error(`a rank ended (code ${code})`)))
    const settle = (action: () => void): void => {
      child.off('message', onMessage)
      child.off('exit', onExit)
      action()
    }
    child.on('message', onMessage)
    child.on('exit', onExit)
  })

const stopChild = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  // it may be ending by itself; then nobody reads
  if (child.connected) child.send({ type: 'stop' } satisfies RingOrder, () => {})
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs)
  await ended
  clearTimeout(timer)
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

/** @throws Error when a rank fails or ends */
export const startRanks = async <R extends Ready, Settings extends object, Order>({
  program,
  workers,
  settings,
  shape,
  quant,
  link,
}: RanksOptions<Settings>): Promise<Ranks<R, Order>> => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-bench-'))
  const rootSeed = randomBytes(32).toString('hex')
  const children: ChildProcess[] = []
  const network = link && new ShapedNetwork(link, workers)
  const route = async (from: number, to: number, port: number): Promise<number> =>
    network ? network.route(from, to, port) : port
  const ask = <T>(rank: number, order: Order | RingOrder, answer: string): Promise<T> => {
    const answered = next<T>(children[rank], answer)
    children[rank].send(order as object)
    return answered
  }
  const stop = async (): Promise<void> => {
    await Promise.all(children.map(stopChild))
    network?.close()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const ready: R[] = []
    for (let rank = 0; rank < workers; rank++) {
      const child = fork(program, {
        execArgv: ['--disable-warning=ExperimentalWarning', ...nodeFlags],
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      })
      children.push(child)
      child.on('message', (message: RouteQuestion | { readonly type: 'other' }) => {
        if (message.type !== 'route') return
        const { from, to, port } = message
        void route(from, to, port).then((by) => child.send({ type: 'routed', to, port, by } satisfies Routed))
      })
      child.send({
        ...settings,
        rank,
        worldSize: workers,
        rootSeed,
        deviceSeed: randomBytes(32).toString('hex'),
        folder: join(folder, String(rank)),
      } satisfies RankIdentity & Settings)
      // one after another: weights are written and loaded with all cores for one rank
      ready.push(await next<R>(child, 'ready'))
    }
    const ring: RingEpoch = {
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
    }
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
