/** Puts together what computes one rank of an epoch whose streams are up: opens sockets, measures the links, makes the engine. */
import type { Logger } from '../../shared/log.ts'
import type { Carrier, RingEpoch, RingLink } from '../../shared/schema/ring.ts'
import { createCollective } from '../collective/chooser.ts'
import { soloCollective } from '../collective/collective.ts'
import { probeLinks } from '../links/link-probe.ts'
import { createForward, type ForwardOptions } from '../engine/forward.ts'
import type { HostedBackend } from '../compute/hosted-backend.ts'
import type { RingChannel } from '../network/ring-channel.ts'
import type { LinkHost } from '../links/link-host.ts'
import { LocalLinkHost } from '../links/local-link-host.ts'
import { openLinks, type OpenLinksOptions } from './open-links.ts'
import { ProcessLinkHost } from './process-link-host.ts'
import { createRingEngine, type RingEngine } from './ring-engine.ts'

/** What carries the sums: `auto` opens sockets where all ranks can. */
export type CarrierChoice = 'auto' | Extract<Carrier, 'streams'>

export interface RankOptions
  extends Pick<ForwardOptions, 'shape' | 'ranges' | 'embed' | 'residual'>, Pick<OpenLinksOptions, 'route'> {
  readonly ring: Pick<RingEpoch, 'epoch' | 'members'>
  readonly backend: HostedBackend
  /** Absent in a ring of one. */
  readonly channel: RingChannel | undefined
  readonly carrier: CarrierChoice
  readonly logger: Logger
  readonly signal: AbortSignal
}

export interface AssembledRank {
  readonly engine: RingEngine
  /** What the links cost, the same on every rank; none in a ring of one. */
  readonly links: readonly RingLink[]
  /** Why sums do not go over sockets, if they do not. */
  readonly streamsReason?: string
}

/** @throws the reason of the signal */
export const assembleRank = async ({
  ring,
  backend,
  channel,
  carrier,
  logger,
  signal,
  route,
  ...model
}: RankOptions): Promise<AssembledRank> => {
  if (!channel)
    return {
      engine: createRingEngine({
        forward: createForward({ ...model, backend, collective: soloCollective }),
        collective: undefined,
        links: undefined,
      }),
      links: [],
    }
  const collective = createCollective(channel)
  const forward = createForward({ ...model, backend, collective })
  const host: LinkHost = backend.canLink
    ? new ProcessLinkHost({ ...model, backend })
    : new LocalLinkHost({ ...model, backend })
  const reason = await openLinks({
    channel,
    host,
    epoch: ring.epoch,
    names: ring.members.map(({ name }) => name),
    wanted: carrier === 'auto',
    logger,
    route,
  })
  const probe = (): Promise<RingLink[]> =>
    reason === undefined ? host.probe(logger) : probeLinks(channel, { logger, pathTo: (rank) => channel.pathTo(rank) })
  let links: RingLink[]
  try {
    links = await probe()
    signal.throwIfAborted()
  } catch (error) {
    await host.close()
    throw error
  }
  return {
    engine: createRingEngine({ forward, collective, links: reason === undefined ? host : undefined }),
    links,
    streamsReason: reason,
  }
}
