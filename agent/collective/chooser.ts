/**
 * Which algorithm for which message: the one of least predicted time under the alpha-beta model (alpha: latency of one
 * hop in seconds, beta: seconds a byte), as in Thakur et al. (2005).
 *
 * - ring: 2 (P - 1) alpha + 2 (P - 1) / P * n beta
 * - direct: alpha + (P - 1) n beta (P - 1 copies leave through one link)
 * - recursive doubling: ceil(log2 P) (alpha + n beta), two more hops when P is no power of two
 *
 * n is what travels: less than the f32 bytes where the wire type of the first two is smaller.
 *
 * Every rank must choose alike, or the ring stands still. So the choice depends only on what all of them know: the
 * world size, the length, and the figures that rank 0 announces when a job starts (measured by `link-probe.ts`).
 */
import type { Algorithm, Carrier, CollectiveChoice, RingLink } from '../../shared/schema/ring.ts'
import type { TensorChannel } from '../channel/channel.ts'
import type { Collective } from './collective.ts'
import { createDirectCollective } from './direct.ts'
import { type WireChoice, wireCodecs, wireFor, type WireType } from './wire-types.ts'
import { createRecursiveDoubling } from './recursive-doubling.ts'
import { createRingCollective } from './ring.ts'

export type { Algorithm, CollectiveChoice }

/** What a link of the ring costs; the slowest one counts. */
export interface LinkCost {
  /** Seconds for an empty message, one way. */
  readonly alpha: number
  /** Seconds a byte. */
  readonly beta: number
}

/** A local network, for a link that could not be measured. */
export const assumedFigures = { roundTripMs: 0.6, bytesPerSecond: 80e6 } as const

type Figures = Pick<RingLink, 'roundTripMs' | 'bytesPerSecond'>

/** Longest round trip and lowest bandwidth: an all-reduce is as slow as its slowest link. */
export const slowestOf = (links: readonly Figures[]): Figures =>
  links.length === 0
    ? assumedFigures
    : {
        roundTripMs: Math.max(...links.map(({ roundTripMs }) => roundTripMs)),
        bytesPerSecond: Math.min(...links.map(({ bytesPerSecond }) => bytesPerSecond)),
      }

export const costOf = ({ roundTripMs, bytesPerSecond }: Figures): LinkCost => ({
  alpha: roundTripMs / 2000,
  beta: 1 / bytesPerSecond,
})

export const assumedLink: LinkCost = costOf(assumedFigures)

/** What a prediction depends on besides the message. */
type Terms = LinkCost & { readonly wire?: WireChoice }

/** Predicted seconds of an all-reduce. @param bytes of the tensor as f32 */
export const predict = (
  algorithm: Algorithm,
  worldSize: number,
  bytes: number,
  { alpha, beta, wire = 'f32' }: Terms,
): number => {
  if (worldSize === 1) return 0
  const travels = wireCodecs[wireFor(wire, bytes)].size(bytes / 4)
  if (algorithm === 'ring') return 2 * (worldSize - 1) * alpha + ((2 * (worldSize - 1)) / worldSize) * travels * beta
  if (algorithm === 'direct') return alpha + (worldSize - 1) * travels * beta
  const hops = Math.floor(Math.log2(worldSize)) + (Number.isInteger(Math.log2(worldSize)) ? 0 : 2)
  return hops * (alpha + bytes * beta)
}

const algorithms: readonly Algorithm[] = ['direct', 'recursive-doubling', 'ring'] // on a tie the one of fewer hops

export const choose = (worldSize: number, bytes: number, terms: Terms): Algorithm =>
  algorithms.reduce((best, one) =>
    predict(one, worldSize, bytes, terms) < predict(best, worldSize, bytes, terms) ? one : best,
  )

/** What the ranks of a ring agree on for a job: rank 0 announces it when the job starts. */
export interface CollectiveSettings {
  readonly algorithm: CollectiveChoice
  /** How tensors travel in a direct exchange and around the ring; recursive doubling always sends f32. */
  readonly wire: WireChoice
  /** What `auto` reckons with. Absent: `assumedLink`. */
  readonly link?: LinkCost
  /** Which links carry the sums. Absent: streams. */
  readonly carrier?: Carrier
}

/** The algorithm for a message of that size. */
export const algorithmFor = (
  { algorithm, wire, link = assumedLink }: CollectiveSettings,
  worldSize: number,
  bytes: number,
): Algorithm => (algorithm === 'auto' ? choose(worldSize, bytes, { ...link, wire }) : algorithm)

export const defaultSettings: CollectiveSettings = { algorithm: 'auto', wire: 'f32' }

export interface AdjustableCollective extends Collective {
  /** From the next operation on; every rank must use the same. */
  use(settings: CollectiveSettings): void
}

/** A collective that picks per message, or always the one that was asked for. */
export const createCollective = (channel: TensorChannel): AdjustableCollective => {
  const { rank, worldSize } = channel
  let settings = defaultSettings
  /** By bytes; a step sums tensors of one or two sizes, dozens of times. */
  const chosen = new Map<number, Collective>()
  const wireOf = (bytes: number): WireType => wireFor(settings.wire, bytes)
  const all: Readonly<Record<Algorithm, Collective>> = {
    ring: createRingCollective(channel, wireOf),
    direct: createDirectCollective(channel, wireOf),
    'recursive-doubling': createRecursiveDoubling(channel),
  }
  const choiceFor = (bytes: number): Collective => {
    let choice = chosen.get(bytes)
    if (!choice) {
      choice = all[algorithmFor(settings, worldSize, bytes)]
      chosen.set(bytes, choice)
    }
    return choice
  }
  return {
    name: 'adjustable',
    rank,
    worldSize,
    use: (next) => {
      settings = next
      chosen.clear()
    },
    allReduce: (data, id, sink) => choiceFor(data.byteLength).allReduce(data, id, sink),
  }
}
