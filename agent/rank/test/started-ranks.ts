/** All ranks of an epoch in this process, started as agents do it, over real libp2p nodes: for tests. */
import { silentLogger } from '../../../shared/log.ts'
import { type CollectiveSettings, costOf, slowestOf } from '../../collective/chooser.ts'
import type { HostedBackend } from '../../compute/hosted-backend.ts'
import type { RankParts } from '../../engine/test/ring-of-engines.ts'
import type { RingChannel } from '../../network/ring-channel.ts'
import type { TestPool } from '../../network/test/pool-of-nodes.ts'
import type { CarrierChoice } from '../open-carrier.ts'
import { startRank } from '../start-rank.ts'
import type { RingEngine } from '../ring-engine.ts'

export interface StartedRanks {
  readonly engines: readonly RingEngine[]
  readonly channels: readonly RingChannel[]
  /** Why sums stay on streams, by rank. */
  readonly reasons: readonly (string | undefined)[]
  /** As rank 0 agrees it with all when a job starts. */
  use(carrier: CollectiveSettings['carrier']): void
  /** The epoch ends; backends stay. */
  leave(): Promise<void>
}

export const startRanks = async (
  pool: TestPool,
  parts: readonly RankParts[],
  { epoch = 1, carrier = 'auto' }: { readonly epoch?: number; readonly carrier?: CarrierChoice } = {},
): Promise<StartedRanks> => {
  const members = parts.map((_, rank) => rank)
  const ring = pool.ring(members, epoch)
  const channels = await pool.connect(ring, members)
  const { signal } = new AbortController()
  const ranks = await Promise.all(
    parts.map(({ shape, ranges, residual, embed, backend }, rank) =>
      startRank({
        shape,
        ranges,
        residual,
        embed,
        ring,
        backend: backend as HostedBackend,
        channel: channels[rank],
        carrier,
        settings: { algorithm: 'auto', wire: 'f32' },
        logger: silentLogger(),
        signal,
      }),
    ),
  )
  const engines = ranks.map(({ engine }) => engine)
  return {
    engines,
    channels,
    reasons: ranks.map(({ streamsReason }) => streamsReason),
    use: (wanted) => {
      for (const engine of engines)
        engine.use({ algorithm: 'auto', wire: 'f32', link: costOf(slowestOf(ranks[0].links)), carrier: wanted })
    },
    leave: async () => {
      for (const engine of engines) engine.dropSockets()
      await Promise.all(channels.map((channel) => channel.close()))
    },
  }
}
