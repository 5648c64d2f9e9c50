/** Slots at relays, so that peers without a direct path can reach this node. A relay that is away is tried again. */
import type { Libp2p } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import { problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'

export interface RelayState {
  readonly address: string
  readonly reserved: boolean
}

export interface Reservations {
  states(): RelayState[]
  stop(): void
}

const firstPauseMs = 1000
const longestPauseMs = 60_000
/** How often a held slot is looked at: a relay that restarted has forgotten it. */
const checkMs = 5000
const dialMs = 10_000

/** What libp2p's transport manager offers beyond its public type: listening on further addresses at run time. */
interface Listening {
  readonly components: { readonly transportManager: { listen(addresses: Multiaddr[]): Promise<void> } }
}

export const keepReservations = (libp2p: Libp2p, relays: readonly Multiaddr[], logger: Logger): Reservations => {
  const timers = new Set<NodeJS.Timeout>()
  let stopped = false
  const relayId = (relay: Multiaddr): string => relay.toString().split('/p2p/')[1] ?? ''
  const isReserved = (relay: Multiaddr): boolean => libp2p.getMultiaddrs().some((address) => address.toString().includes(`/p2p/${relayId(relay)}/p2p-circuit`))

  const later = (relay: Multiaddr, inMs: number, pauseMs: number): void => {
    if (stopped) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      void hold(relay, pauseMs)
    }, inMs)
    timers.add(timer)
  }

  const hold = async (relay: Multiaddr, pauseMs: number): Promise<void> => {
    if (isReserved(relay)) return later(relay, checkMs, firstPauseMs)
    try {
      await libp2p.dial(relay, { signal: AbortSignal.timeout(dialMs) })
      await (libp2p as unknown as Listening).components.transportManager.listen([relay.encapsulate('/p2p-circuit')])
      logger.info({ relay: relay.toString() }, 'slot reserved at relay')
      later(relay, checkMs, firstPauseMs)
    } catch (error) {
      if (pauseMs === firstPauseMs) logger.warn({ relay: relay.toString(), problem: problemOf(error) }, 'no slot at relay yet; trying again by itself')
      later(relay, pauseMs, Math.min(longestPauseMs, pauseMs * 2))
    }
  }

  for (const relay of relays) void hold(relay, firstPauseMs)
  return {
    states: () => relays.map((relay) => ({ address: relay.toString(), reserved: isReserved(relay) })),
    stop: () => {
      stopped = true
      for (const timer of timers) clearTimeout(timer)
    },
  }
}
