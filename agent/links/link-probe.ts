/**
 * Measures the links of an epoch, over the streams that its all-reduces will use, and makes every rank end with the
 * same figures.
 *
 * Ranks meet in pairs, one partner at a time (`pairing.ts`), so that no link is measured while another one of the same
 * rank is busy. The lower rank sends, the higher one sends everything back, and the lower one takes the time: a few
 * tiny messages for the round trip, then larger and larger ones for the bandwidth. Data that comes back while more is
 * going out loads the link in both directions, as an all-reduce does. Then rank 0 gathers what each rank measured and
 * sends the whole table to all.
 *
 * A link that cannot be measured counts as a local network. Nothing here fails an epoch: a link that is lost is told
 * by the channel.
 */
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { type LinkPath, type RingLink, RingLinkTable } from '../../shared/schema/ring.ts'
import { decodeCbor, encodeCbor } from '../../shared/wire/envelope.ts'
import { type FrameTag, phases } from '../../shared/wire/frame.ts'
import { othersOf, payloadOf, type TensorChannel } from '../channel/channel.ts'
import { assumedFigures } from '../collective/chooser.ts'
import { partnerOf, roundsOf } from './pairing.ts'
import { withTimeout } from '../../shared/with-timeout.ts'

/** Numbers that rank 0 never gives to a job: it counts up from 1. */
const echoJob = 0
const tableJob = 0xffff_ffff
/** Bytes of a message whose round trip is taken. */
const pingBytes = 64
/** Round trips that are counted, unless they take long; their median is the figure. */
const pings = 5
const pingsMs = 150
/** Bytes of the transfers: the first is over at once on any link, the last is a prefill message. */
const firstTransferBytes = 16 * 2 ** 10
const lastTransferBytes = 2 * 2 ** 20
const growth = 4
/** A transfer that would take longer than this is not begun: the one before is good enough. */
const transferMs = 250
const pieceBytes = 64 * 2 ** 10
/** All that an honest rank sends over one link. */
const mostBytes = 2 * lastTransferBytes
/** What is left of a round trip or a transfer when another one is taken off; keeps a figure above zero. */
const leastPart = 0.25

export interface LinkProbeOptions {
  readonly logger: Logger
  /** How the link to that rank goes, as far as it is known. */
  pathTo?(rank: number): LinkPath | undefined
  /**
   * Milliseconds a round, after which the link is assumed. Default: what a link around the world needs, or less when
   * there are many rounds.
   */
  readonly roundMs?: number
}

const longestRoundMs = 2500
const allRoundsMs = 10_000
/** Milliseconds that a report or the table may take on its way. */
const reportMs = 2000

const tagOf = (job: number, operation: number, chunk = 0): FrameTag => ({
  job,
  step: 0,
  operation,
  phase: phases.none,
  chunk,
})
const presence = tagOf(echoJob, 0)
const echo = (chunk: number): FrameTag => tagOf(echoJob, 1, chunk)
const report = tagOf(tableJob, 0)
const table = tagOf(tableJob, 1)

const nothing = payloadOf(new Uint8Array(0))
const zeros = new Uint8Array(pieceBytes) // encrypted on their way, so they take as long as anything

/** @param deadline of `performance.now()` */
const by = <T>(deadline: number, work: Promise<T>): Promise<T> =>
  withTimeout(work, deadline - performance.now(), () => {
    throw new Error('it took too long')
  })

type Figures = Pick<RingLink, 'roundTripMs' | 'bytesPerSecond'>

const medianOf = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]

/**
 * The higher rank of a pair sends back what comes, until an empty message.
 * @throws MeshError `frameInvalid` for more than a probe sends
 */
const answer = async (channel: TensorChannel, from: number): Promise<void> => {
  for (let chunk = 0, total = 0; ; chunk++) {
    const { bytes } = await channel.receive(from, echo(chunk))
    if (bytes.length === 0) return
    total += bytes.length
    if (bytes.length > pieceBytes || total > mostBytes)
      throw new MeshError('frameInvalid', { problem: `${total} bytes to measure a link` })
    await channel.send(from, echo(chunk), payloadOf(bytes))
  }
}

/** The lower rank of a pair. What it found before it failed stays in `found`. */
class Measurement {
  readonly found: Partial<Figures> = {}
  readonly #channel: TensorChannel
  readonly #to: number
  #chunk = 0

  constructor(channel: TensorChannel, to: number) {
    this.#channel = channel
    this.#to = to
  }

  async run(): Promise<void> {
    await this.#echo(pingBytes) // the other one may still be busy with its last partner
    const started = performance.now()
    const times: number[] = []
    while (times.length < pings && (times.length === 0 || performance.now() - started < pingsMs))
      times.push(await this.#echo(pingBytes))
    const roundTripMs = medianOf(times)
    this.found.roundTripMs = roundTripMs
    for (let bytes = firstTransferBytes; ; bytes = Math.min(lastTransferBytes, bytes * growth)) {
      const ms = await this.#echo(bytes)
      const transfer = Math.max(ms - roundTripMs, ms * leastPart)
      this.found.bytesPerSecond = (bytes / transfer) * 1000
      if (bytes >= lastTransferBytes || transfer * growth > transferMs) break
    }
    await this.#channel.send(this.#to, echo(this.#chunk), nothing)
  }

  /**
   * @returns milliseconds until all was back;
   * @throws MeshError of the channel | `frameInvalid` when something else came back
   */
  async #echo(bytes: number): Promise<number> {
    const channel = this.#channel
    const pieces = Array.from({ length: Math.ceil(bytes / pieceBytes) }, (_, index) => ({
      tag: echo(this.#chunk + index),
      size: Math.min(pieceBytes, bytes - index * pieceBytes),
    }))
    this.#chunk += pieces.length
    const started = performance.now()
    const send = async (): Promise<void> => {
      for (const { tag, size } of pieces) await channel.send(this.#to, tag, payloadOf(zeros.subarray(0, size)))
    }
    const receive = async (): Promise<void> => {
      for (const { tag, size } of pieces) {
        const got = (await channel.receive(this.#to, tag)).bytes.length
        if (got !== size) throw new MeshError('frameInvalid', { problem: `an echo of ${got} bytes, want ${size}` })
      }
    }
    await Promise.all([send(), receive()])
    return performance.now() - started
  }
}

class LinkProbe {
  readonly #channel: TensorChannel
  readonly #options: LinkProbeOptions

  constructor(channel: TensorChannel, options: LinkProbeOptions) {
    this.#channel = channel
    this.#options = options
  }

  async run(): Promise<RingLink[]> {
    const channel = this.#channel
    const rounds = roundsOf(channel.worldSize)
    const roundMs = this.#options.roundMs ?? Math.min(longestRoundMs, allRoundsMs / rounds)
    try {
      await this.#meet()
      const started = performance.now()
      const own = await this.#measure(started, roundMs)
      channel.forgetJob(echoJob) // ends what still waits for a rank that is silent
      const deadline = started + rounds * roundMs + reportMs
      return channel.rank === 0 ? await this.#gather(own, deadline) : await this.#tell(own, deadline + reportMs)
    } finally {
      channel.forgetJob(echoJob)
      channel.forgetJob(tableJob)
    }
  }

  get #others(): number[] {
    return othersOf(this.#channel)
  }

  /** Some ranks have their links earlier than others; time counts from when all have. */
  async #meet(): Promise<void> {
    const channel = this.#channel
    await Promise.allSettled(
      this.#others.flatMap((rank) => [channel.send(rank, presence, nothing), channel.receive(rank, presence)]),
    )
  }

  /**
   * One pair after another; a rank that is silent costs the others one round each.
   * @returns the links to higher ranks
   */
  async #measure(started: number, roundMs: number): Promise<RingLink[]> {
    const { rank, worldSize } = this.#channel
    const links: RingLink[] = []
    for (let round = 0; round < roundsOf(worldSize); round++) {
      const other = partnerOf(rank, round, worldSize)
      if (other === undefined) continue
      const measurement = other > rank ? new Measurement(this.#channel, other) : undefined
      let measured = false
      try {
        await by(started + (round + 1) * roundMs, measurement ? measurement.run() : answer(this.#channel, other))
        measured = true
      } catch (error) {
        this.#options.logger.warn(
          { rank: other, problem: problemOf(error) },
          'a link could not be measured; going on as if it were a local network',
        )
      }
      if (measurement)
        links.push({ from: rank, to: other, ...assumedFigures, ...measurement.found, measured, ...this.#pathTo(other) })
    }
    return links
  }

  #pathTo(rank: number): { path?: LinkPath } {
    const path = this.#options.pathTo?.(rank)
    return path === undefined ? {} : { path }
  }

  /** Rank 0: puts the table together and sends it to all. */
  async #gather(own: readonly RingLink[], deadline: number): Promise<RingLink[]> {
    const channel = this.#channel
    const reports = await Promise.all(this.#others.map((rank) => this.#reportOf(rank, deadline)))
    const all = completed([...own, ...reports.flat()], channel.worldSize)
    const bytes = encodeCbor(all)
    await Promise.allSettled(
      this.#others.map((rank) => by(deadline + reportMs, channel.send(rank, table, payloadOf(bytes)))),
    )
    return all
  }

  /** What a rank measured; nothing when it does not say, or speaks of links that are not its own. */
  async #reportOf(rank: number, deadline: number): Promise<RingLink[]> {
    try {
      const links = decodeCbor(RingLinkTable, (await by(deadline, this.#channel.receive(rank, report))).bytes)
      return links.filter(({ from, to }) => from === rank && to > rank)
    } catch (error) {
      this.#options.logger.warn(
        { rank, problem: problemOf(error) },
        'a rank did not say what it measured; going on as if its links were a local network',
      )
      return []
    }
  }

  /** Other ranks: send what they measured, and get the table. */
  async #tell(own: readonly RingLink[], deadline: number): Promise<RingLink[]> {
    const channel = this.#channel
    try {
      await by(deadline, channel.send(0, report, payloadOf(encodeCbor(own))))
      const { bytes } = await by(deadline, channel.receive(0, table))
      return completed(decodeCbor(RingLinkTable, bytes), channel.worldSize)
    } catch (error) {
      this.#options.logger.warn(
        { problem: problemOf(error) },
        'rank 0 sent no table of links; it will say what to reckon with when a job starts',
      )
      return completed([], channel.worldSize)
    }
  }
}

/** The links of all pairs, in order; those that nobody measured are assumed. */
const completed = (links: readonly RingLink[], worldSize: number): RingLink[] => {
  const known = new Map(links.map((link) => [`${link.from}/${link.to}`, link]))
  return Array.from({ length: worldSize }, (_, from) =>
    Array.from({ length: worldSize - from - 1 }, (__, index) => {
      const to = from + 1 + index
      return known.get(`${from}/${to}`) ?? { from, to, ...assumedFigures, measured: false }
    }),
  ).flat()
}

/**
 * To be called once by every rank, right after the links are up and before anything else uses them.
 * @returns all links of the epoch, the same on every rank. Never throws.
 */
export const probeLinks = (channel: TensorChannel, options: LinkProbeOptions): Promise<RingLink[]> =>
  new LinkProbe(channel, options).run()
