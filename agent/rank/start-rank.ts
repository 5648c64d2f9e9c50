/** One rank of an epoch whose streams are up, as agents and benchmarks start it: engine, links, and what carries the sums. */
import type { RingEpoch, RingLink } from '../../shared/schema/ring.ts'
import { type CollectiveSettings, costOf, createCollective, slowestOf } from '../collective/chooser.ts'
import { soloCollective } from '../collective/collective.ts'
import { createForward, type ForwardOptions } from '../engine/forward.ts'
import type { HostedBackend } from '../compute/hosted-backend.ts'
import type { RingChannel } from '../network/ring-channel.ts'
import type { LinkHost } from '../links/link-host.ts'
import { LocalLinkHost } from '../links/local-link-host.ts'
import { openCarrier, type OpenCarrierOptions } from './open-carrier.ts'
import { ProcessLinkHost } from './process-link-host.ts'
import { createRingEngine, type RingEngine } from './ring-engine.ts'

export interface StartRankOptions
  extends
    Pick<ForwardOptions, 'shape' | 'ranges' | 'embed' | 'residual'>,
    Pick<OpenCarrierOptions, 'carrier' | 'logger' | 'signal' | 'route'> {
  readonly ring: Pick<RingEpoch, 'epoch' | 'members' | 'quant'>
  readonly backend: HostedBackend
  /** Absent in a ring of one. */
  readonly channel: RingChannel | undefined
  /** How this rank wants the sums done when it leads. */
  readonly settings: CollectiveSettings
}

export interface StartedRank {
  readonly engine: RingEngine
  /** What the links cost, the same on every rank; none in a ring of one. */
  readonly links: readonly RingLink[]
  /** Why sums do not go over sockets, if they do not. */
  readonly streamsReason: string | undefined
  /** Rank 0: how the next job sums; this rank does so at once, the others when they are told. */
  agree(): CollectiveSettings
  /** Gives up the sockets, and says why: sums go over the streams for the rest of the epoch. */
  leaveSockets(reason: string): void
}

type Model = Pick<StartRankOptions, 'shape' | 'ranges' | 'embed' | 'residual' | 'backend'>

/** Sockets end where the layers run: in the compute process, or here. */
const hostFor = (model: Model): LinkHost =>
  model.backend.canLink ? new ProcessLinkHost(model) : new LocalLinkHost(model)

/** @returns the engine, and what its links cost */
const startEngine = async ({
  channel,
  ...options
}: StartRankOptions): Promise<Pick<StartedRank, 'engine' | 'links' | 'streamsReason'>> => {
  const { shape, ranges, embed, residual, backend } = options
  const model: Model = { shape, ranges, embed, residual, backend }
  if (!channel) {
    const forward = createForward({ ...model, collective: soloCollective })
    return {
      engine: createRingEngine({ forward, collective: undefined, links: undefined }),
      links: [],
      streamsReason: undefined,
    }
  }
  const collective = createCollective(channel)
  const forward = createForward({ ...model, collective })
  const host = hostFor(model)
  const { links, streamsReason } = await openCarrier({ ...options, channel, host })
  const engine = createRingEngine({ forward, collective, links: streamsReason === undefined ? host : undefined })
  return { engine, links, streamsReason }
}

/** @throws the reason of the signal | MeshError of the channel; nothing stays open then */
export const startRank = async (options: StartRankOptions): Promise<StartedRank> => {
  const { engine, links, streamsReason } = await startEngine(options)
  const { settings: wanted, ring } = options
  let reason = streamsReason
  return {
    engine,
    links,
    get streamsReason() {
      return reason
    },
    agree: () => {
      const settings: CollectiveSettings = {
        ...wanted,
        // who runs weights unrounded wants sums unrounded too
        wire: wanted.wire === 'auto' && ring.quant === 'f32' ? 'f32' : wanted.wire,
        link: costOf(slowestOf(links)),
        carrier: engine.hasSockets ? 'sockets' : 'streams',
      }
      engine.use(settings)
      return settings
    },
    leaveSockets: (why) => {
      reason = why
      engine.dropSockets()
    },
  }
}
