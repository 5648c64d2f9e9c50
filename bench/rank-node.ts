/** The network half of one rank of a benchmark, as in an agent: libp2p node on loopback, gate, links of its ring. */
import { Gate } from '../agent/network/gate.ts'
import { createNode } from '../agent/network/node.ts'
import { RingStreams } from '../agent/network/ring-streams.ts'
import { deviceIdOf } from '../shared/identity/device-key.ts'
import { keyPairFromSeed } from '../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../shared/identity/pool-certificate.ts'
import { silentLogger } from '../shared/log.ts'

export interface RankIdentity {
  readonly rank: number
  readonly worldSize: number
  /** Hex. */
  readonly rootSeed: string
  readonly deviceSeed: string
  /** For files of this rank; need not exist. */
  readonly folder: string
}

/** What the other ranks need to know. */
export interface Introduction {
  readonly peerId: string
  readonly addresses: string[]
  readonly deviceId: string
}

export interface RankNode {
  readonly introduction: Introduction
  readonly streams: RingStreams
  stop(): Promise<void>
}

/** Slow links, long contexts: a benchmark shall end with figures, not with a deadline of daily use. */
const deadlineMs = 120_000

export const createRankNode = async ({ rootSeed, deviceSeed }: RankIdentity): Promise<RankNode> => {
  const logger = silentLogger()
  const keyOf = (hex: string) => keyPairFromSeed(new Uint8Array(Buffer.from(hex, 'hex')))
  const root = keyOf(rootSeed)
  const key = keyOf(deviceSeed)
  const certificate = issueCertificate(root, { deviceId: deviceIdOf(key), role: 'member' }, Date.now())
  const node = await createNode({ key, listen: ['/ip4/127.0.0.1/tcp/0'], announce: [], relays: [], logger })
  const gate = new Gate(
    node,
    {
      rootKeyOf: (id) => (id === poolIdOf(root.publicKey) ? root.publicKey : undefined),
      certificateOf: () => certificate,
    },
    { now: Date.now, logger },
  )
  return {
    introduction: { peerId: node.peerId, addresses: node.addresses(), deviceId: deviceIdOf(key) },
    streams: new RingStreams({ node, gate, stepTimeoutMs: deadlineMs, connectTimeoutMs: deadlineMs, logger }),
    stop: async () => {
      gate.stop()
      await node.stop()
    },
  }
}

/** To the process that started this one. */
export const say = (message: object): void => void process.send?.(message)

/** The way to a port of another rank, which a shaped link changes: the process that started this one knows. */
export const routeOf =
  (from: number) =>
  (to: number, port: number): Promise<{ host: string; port: number }> =>
    new Promise((resolve) => {
      const onMessage = (message: Partial<Routed>): void => {
        if (message.type !== 'routed' || message.to !== to || message.port !== port) return
        process.off('message', onMessage)
        resolve({ host: '127.0.0.1', port: message.by as number })
      }
      process.on('message', onMessage)
      say({ type: 'route', from, to, port } satisfies RouteQuestion)
    })

export interface RouteQuestion {
  readonly type: 'route'
  readonly from: number
  readonly to: number
  readonly port: number
}

export interface Routed {
  readonly type: 'routed'
  readonly to: number
  readonly port: number
  /** The port to dial instead. */
  readonly by: number
}

/** What a started rank does. */
export interface RankProgram<Order> {
  obey(order: Order): Promise<void>
  stop(): Promise<void>
}

/**
 * Runs a rank: settings come as the first message, orders after it, the order `stop` last. A failure is told, then the
 * process ends; so it does when the process that started it is gone.
 */
export const serveRank = <Settings, Order extends { readonly type: string }>(
  start: (settings: Settings) => Promise<RankProgram<Order>>,
): void => {
  const end = (): void => {
    if (process.connected) process.disconnect()
  }
  const fail = (error: unknown): void => {
    say({ type: 'failed', problem: error instanceof Error ? error.message : String(error) })
    end()
  }
  process.once('message', (settings: Settings) => {
    start(settings).then(({ obey, stop }) => {
      let stopping: Promise<void> | undefined
      const stopOnce = (): void => {
        stopping ??= stop().then(end, fail)
      }
      process.on('disconnect', stopOnce)
      if (!process.connected) stopOnce()
      process.on('message', (order: Order) => {
        if (order.type === 'stop') stopOnce()
        else if (order.type !== 'routed') obey(order).catch(fail)
      })
    }, fail)
  })
}
