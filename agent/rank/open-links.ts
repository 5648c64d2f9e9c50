/**
 * Opens the sockets of an epoch, if every rank can: each listens where it computes, tells the others the port and the
 * fingerprint of its certificate over the streams of libp2p, and the lower rank dials the higher one at the machine to
 * which its stream leads. Where any of that fails on any rank (a relay between two ranks, a firewall, an older agent)
 * the sums of all stay on the streams.
 */
import { problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { decodeCbor, encodeCbor, LinkOffer, LinkVerdict } from '../../shared/wire/envelope.ts'
import { type FrameTag, phases } from '../../shared/wire/frame.ts'
import { formatDuration } from '../../shared/words.ts'
import { othersOf, payloadOf, type TensorChannel } from '../channel/channel.ts'
import { withTimeout } from '../../shared/with-timeout.ts'
import { makeLinkCertificate } from '../network/socket-tls.ts'
import type { RingChannel } from '../network/ring-channel.ts'
import { fingerprintOf, type LinkPeer } from '../channel/sockets/tls-sockets.ts'
import type { LinkHost } from '../links/link-host.ts'

export interface OpenLinksOptions {
  readonly channel: RingChannel
  readonly host: Pick<LinkHost, 'listen' | 'connect' | 'close'>
  readonly epoch: number
  /** Of every rank. */
  readonly names: readonly string[]
  readonly logger: Logger
  /** False: offers nothing. */
  readonly wanted: boolean
  /** Where to dial that rank, if not straight at its port. */
  route?(rank: number, port: number): Promise<{ readonly host: string; readonly port: number }>
}

/** Milliseconds that a rank gets to make its offer: it may be busy with a relay, or dial somebody else. */
const offerMs = 10_000
const connectMs = 4000

/** A number that rank 0 never gives to a job, nor the link probe uses. */
const linkJob = 0xffff_fffe
const tagOf = (operation: number): FrameTag => ({ job: linkJob, step: 0, operation, phase: phases.none, chunk: 0 })
const offerTag = tagOf(0)
const verdictTag = tagOf(1)

/** Where to listen, so that ranks at these machines can dial: on this machine alone when all of them are on it. */
const interfaceFor = (hosts: readonly (string | undefined)[]): string => {
  if (hosts.every((host) => host?.startsWith('127.'))) return '127.0.0.1'
  return hosts.every((host) => host === '::1') ? '::1' : '::'
}

/** The first verdict that names a problem, at once; one without when all have none. */
const jointVerdict = (verdicts: readonly Promise<LinkVerdict>[]): Promise<LinkVerdict> =>
  new Promise((resolve, reject) => {
    for (const verdict of verdicts) verdict.then((one) => one.problem !== undefined && resolve(one), reject)
    Promise.all(verdicts).then(() => resolve({}), reject)
  })

/** What that rank sends under the tag. @throws Error after `ms` | MeshError of the channel */
const receiveFrom = async (
  channel: TensorChannel,
  from: number,
  { tag, ms, what }: { readonly tag: FrameTag; readonly ms: number; readonly what: string },
): Promise<Uint8Array> =>
  (
    await withTimeout(channel.receive(from, tag), ms, () => {
      throw new Error(`${what} took longer than ${formatDuration(ms)}`)
    })
  ).bytes

class Opening {
  readonly #options: OpenLinksOptions
  readonly #others: readonly number[]

  constructor(options: OpenLinksOptions) {
    this.#options = options
    this.#others = othersOf(options.channel)
  }

  /** @returns why the sockets cannot be used; `undefined` when all of all ranks are open */
  async run(): Promise<string | undefined> {
    const { logger, host } = this.#options
    let problem: string | undefined
    try {
      const own = await this.#offer()
      const theirs = await this.#exchange(own)
      await this.#connect(own, theirs)
    } catch (error) {
      problem = problemOf(error)
    }
    const verdict = await this.#agree(problem)
    this.#options.channel.forgetJob(linkJob) // ends what still waits for a rank that is silent
    if (verdict === undefined) return undefined
    logger.info({ reason: verdict }, 'the sums of this ring stay on the streams of libp2p')
    await host.close()
    return verdict
  }

  /** What this rank offers; nothing when it cannot listen. */
  async #offer(): Promise<LinkOffer> {
    const { channel, host, wanted } = this.#options
    if (!wanted) return { problem: 'switched off here' }
    const hosts = this.#others.map((rank) => channel.hostOf(rank))
    if (hosts.includes(undefined)) return { problem: 'there is a relay between two ranks' }
    try {
      const certificate = await makeLinkCertificate()
      if (!certificate) return { problem: 'no certificate can be made' }
      return { port: await host.listen(certificate, interfaceFor(hosts)), fingerprint: fingerprintOf(certificate) }
    } catch (error) {
      return { problem: problemOf(error).slice(0, 500) }
    }
  }

  async #exchange(own: LinkOffer): Promise<Map<number, LinkOffer>> {
    const { channel, names } = this.#options
    const bytes = encodeCbor(own)
    const offers = new Map<number, LinkOffer>()
    await Promise.all(
      this.#others.map(async (rank) => {
        await channel.send(rank, offerTag, payloadOf(bytes))
        const offer = await receiveFrom(channel, rank, {
          tag: offerTag,
          ms: offerMs,
          what: `the offer of ${names[rank]}`,
        })
        try {
          offers.set(rank, decodeCbor(LinkOffer, offer))
        } catch (error) {
          throw new Error(`${names[rank]} made no offer that can be read: ${problemOf(error)}`, { cause: error })
        }
      }),
    )
    return offers
  }

  async #connect(own: LinkOffer, theirs: ReadonlyMap<number, LinkOffer>): Promise<void> {
    const { channel, host, epoch, names } = this.#options
    const peers: LinkPeer[] = []
    for (const [rank, offer] of [[channel.rank, own] as const, ...theirs]) {
      if ('problem' in offer) throw new Error(`${names[rank]}: ${offer.problem}`)
      if (rank !== channel.rank)
        peers.push({
          rank,
          fingerprint: offer.fingerprint,
          ...(rank > channel.rank ? { dial: await this.#route(rank, offer.port) } : {}),
        })
    }
    // a rank that is linked waits for the verdict of all no longer than the step deadline: all must have tried by then
    await host.connect({
      rank: channel.rank,
      epoch,
      names,
      peers,
      connectMs: Math.min(connectMs, channel.stepTimeoutMs / 2),
      stepTimeoutMs: channel.stepTimeoutMs,
    })
  }

  async #route(rank: number, port: number): Promise<{ host: string; port: number }> {
    const { channel, route } = this.#options
    return (await route?.(rank, port)) ?? { host: channel.hostOf(rank) as string, port }
  }

  /** All ranks tell rank 0 how it went, rank 0 tells all what came of it. @returns why the sockets cannot be used */
  async #agree(problem: string | undefined): Promise<string | undefined> {
    const { channel } = this.#options
    const own: LinkVerdict = problem === undefined ? {} : { problem: problem.slice(0, 500) }
    if (channel.rank > 0) {
      await channel.send(0, verdictTag, payloadOf(encodeCbor(own))).catch(() => {})
      return (await this.#verdictOf(0)).problem
    }
    const joint = await jointVerdict([Promise.resolve(own), ...this.#others.map((rank) => this.#verdictOf(rank))])
    const bytes = encodeCbor(joint)
    await Promise.allSettled(this.#others.map((rank) => channel.send(rank, verdictTag, payloadOf(bytes))))
    return joint.problem
  }

  async #verdictOf(rank: number): Promise<LinkVerdict> {
    const { channel, names } = this.#options
    try {
      return decodeCbor(
        LinkVerdict,
        await receiveFrom(channel, rank, {
          tag: verdictTag,
          ms: offerMs + connectMs,
          what: `the verdict of ${names[rank]}`,
        }),
      )
    } catch (error) {
      return { problem: problemOf(error).slice(0, 500) }
    }
  }
}

/**
 * To be called once by every rank, when its streams are up and nothing else uses them.
 * @returns `undefined` when sums can go over the sockets of `host`; otherwise why not, and the host is closed. Never
 * throws.
 */
export const openLinks = (options: OpenLinksOptions): Promise<string | undefined> => new Opening(options).run()
