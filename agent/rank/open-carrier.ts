/** What carries the sums of an epoch whose streams are up: sockets where all ranks can, else the streams; and what the links cost. */
import type { Logger } from '../../shared/log.ts'
import type { Carrier, RingEpoch, RingLink } from '../../shared/schema/ring.ts'
import type { LinkHost } from '../links/link-host.ts'
import { probeLinks } from '../links/link-probe.ts'
import type { RingChannel } from '../network/ring-channel.ts'
import { openLinks, type OpenLinksOptions } from './open-links.ts'

/** What carries the sums: `auto` opens sockets where all ranks can. */
export type CarrierChoice = 'auto' | Extract<Carrier, 'streams'>

export interface OpenCarrierOptions extends Pick<OpenLinksOptions, 'route'> {
  readonly ring: Pick<RingEpoch, 'epoch' | 'members'>
  /** The streams. */
  readonly channel: RingChannel
  /** Where the sockets end. */
  readonly host: Pick<LinkHost, 'listen' | 'connect' | 'close' | 'probe'>
  readonly carrier: CarrierChoice
  readonly logger: Logger
  readonly signal: AbortSignal
}

export interface OpenedCarrier {
  /** What the links cost, the same on every rank. */
  readonly links: readonly RingLink[]
  /** Why sums do not go over sockets, if they do not; the host is closed then. */
  readonly streamsReason?: string
}

/**
 * To be called once by every rank of an epoch, before anything else uses its streams. What fails leaves no socket open.
 * @throws the reason of the signal | MeshError of the channel
 */
export const openCarrier = async ({
  ring,
  channel,
  host,
  carrier,
  logger,
  signal,
  route,
}: OpenCarrierOptions): Promise<OpenedCarrier> => {
  const streamsReason = await openLinks({
    channel,
    host,
    epoch: ring.epoch,
    names: ring.members.map(({ name }) => name),
    wanted: carrier === 'auto',
    logger,
    route,
  })
  try {
    const links =
      streamsReason === undefined
        ? await host.probe(logger)
        : await probeLinks(channel, { logger, pathTo: (rank) => channel.pathTo(rank) })
    signal.throwIfAborted()
    return { links, streamsReason }
  } catch (error) {
    await host.close()
    throw error
  }
}
