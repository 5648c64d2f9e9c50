/** Slots at relays, so that peers without a direct path can reach this node. A relay that is away is tried again. */
import type { Libp2p, PeerId } from '@libp2p/interface'
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

const firstPauseMs = 250
const longestPauseMs = 30_000
/** How often a held slot is looked at, besides each loss of the connection: a relay may forget it and stay connected. */
const checkMs = 5000
const dialMs = 10_000

/** What libp2p's transport manager offers beyond its public type: listening on further addresses at run time. */
interface Listening {
  readonly components: { readonly transportManager: { listen(addresses: Multiaddr[]): Promise<void> } }
}

/** One relay: reserved, or tried again after a pause. */
class Slot {
  readonly address: Multiaddr
  readonly #libp2p: Libp2p
  readonly #logger: Logger
  #timer: NodeJS.Timeout | undefined
  #pauseMs = firstPauseMs
  #busy = false
  #stopped = false
  /** Told once for each time that it is lost. */
  #told = false

  constructor(libp2p: Libp2p, address: Multiaddr, logger: Logger) {
    this.#libp2p = libp2p
    this.#logger = logger
    this.address = address
  }

  get relayId(): string {
    return this.address.toString().split('/p2p/')[1] ?? ''
  }

  get reserved(): boolean {
    return this.#libp2p.getMultiaddrs().some((address) => address.toString().includes(`/p2p/${this.relayId}/p2p-circuit`))
  }

  /** Looks now. */
  async hold(): Promise<void> {
    if (this.#busy || this.#stopped) return
    this.#busy = true
    clearTimeout(this.#timer)
    try {
      if (!this.reserved) await this.#reserve()
      this.#pauseMs = firstPauseMs
      this.#later(checkMs)
    } catch (error) {
      if (!this.#told) this.#logger.warn({ relay: this.address.toString(), problem: problemOf(error) }, 'no slot at relay; trying again by itself')
      this.#told = true
      this.#later(this.#pauseMs)
      this.#pauseMs = Math.min(longestPauseMs, this.#pauseMs * 2)
    } finally {
      this.#busy = false
    }
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  async #reserve(): Promise<void> {
    await this.#libp2p.dial(this.address, { signal: AbortSignal.timeout(dialMs) })
    await (this.#libp2p as unknown as Listening).components.transportManager.listen([this.address.encapsulate('/p2p-circuit')])
    this.#told = false
    this.#logger.info({ relay: this.address.toString() }, 'slot reserved at relay')
  }

  #later(ms: number): void {
    if (!this.#stopped) this.#timer = setTimeout(() => void this.hold(), ms)
  }
}

export const keepReservations = (libp2p: Libp2p, relays: readonly Multiaddr[], logger: Logger): Reservations => {
  const slots = relays.map((relay) => new Slot(libp2p, relay, logger))
  const onDisconnect = ({ detail: peer }: { readonly detail: PeerId }): void => {
    for (const slot of slots) if (slot.relayId === peer.toString()) void slot.hold()
  }
  libp2p.addEventListener('peer:disconnect', onDisconnect)
  for (const slot of slots) void slot.hold()
  return {
    states: () => slots.map((slot) => ({ address: slot.address.toString(), reserved: slot.reserved })),
    stop: () => {
      libp2p.removeEventListener('peer:disconnect', onDisconnect)
      for (const slot of slots) slot.stop()
    },
  }
}
