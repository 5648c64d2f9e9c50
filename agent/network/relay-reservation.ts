/** Slots at relays, so that peers without a direct path can reach this node. A relay that is away is tried again. */
import type { Libp2p, PeerId } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import { Backoff } from '../../shared/backoff.ts'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { RelayProofs } from './relay-proof.ts'

export interface RelayState {
  readonly address: string
  readonly reserved: boolean
  /** Why there is no slot, and what to do. */
  readonly problem?: string
}

export interface Reservations {
  /** Holds slots at these relays besides the given ones, and no more at those that were named here before. */
  learn(relays: readonly Multiaddr[]): void
  states(): RelayState[]
  stop(): void
}

const pauses = { firstMs: 250, longestMs: 30_000 }
/**
 * How often a held slot is looked at, besides each loss of the connection: a relay may forget it and stay connected.
 */
const checkMs = 5000
const dialMs = 10_000

/** What libp2p's transport manager offers beyond its public type: listening on further addresses at run time. */
interface Listening {
  readonly components: { readonly transportManager: { listen(addresses: Multiaddr[]): Promise<void> } }
}

interface SlotParts {
  readonly proofs: RelayProofs
  readonly logger: Logger
  /** A slot was refused or lost, for a new reason. */
  onProblem(): void
}

/** One relay: reserved, or tried again after a pause. */
class Slot {
  readonly address: Multiaddr
  readonly #libp2p: Libp2p
  readonly #proofs: RelayProofs
  readonly #logger: Logger
  readonly #onProblem: () => void
  #timer: NodeJS.Timeout | undefined
  readonly #backoff = new Backoff(pauses)
  #busy = false
  #stopped = false
  /** Why there is no slot; told once for each time that it changes. */
  #problem = ''
  /** What was shown to the relay when it refused: with something new it is asked at once. */
  #refused = ''

  constructor(libp2p: Libp2p, address: Multiaddr, { proofs, logger, onProblem }: SlotParts) {
    this.#libp2p = libp2p
    this.#proofs = proofs
    this.#onProblem = onProblem
    this.#logger = logger
    this.address = address
  }

  get relayId(): string {
    return this.address.toString().split('/p2p/')[1] ?? ''
  }

  get reserved(): boolean {
    return this.#libp2p
      .getMultiaddrs()
      .some((address) => address.toString().includes(`/p2p/${this.relayId}/p2p-circuit`))
  }

  get problem(): string {
    return this.#problem
  }

  /** Looks now. */
  async hold(): Promise<void> {
    if (this.#busy || this.#stopped) return
    this.#busy = true
    clearTimeout(this.#timer)
    try {
      if (this.reserved) await this.#showAgain()
      else await this.#reserve()
      this.#backoff.reset()
      this.#later(checkMs)
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#busy = false
    }
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  async #reserve(): Promise<void> {
    const connection = await this.#libp2p.dial(this.address, { signal: AbortSignal.timeout(dialMs) })
    await this.#proofs.show(connection)
    await (this.#libp2p as unknown as Listening).components.transportManager.listen([
      this.address.encapsulate('/p2p-circuit'),
    ])
    this.#problem = ''
    this.#logger.info({ relay: this.address.toString() }, 'slot reserved at relay')
  }

  /** A certificate was renewed, or a list of removals is new: the relay shall know. */
  async #showAgain(): Promise<void> {
    for (const connection of this.#libp2p.getConnections())
      if (connection.remotePeer.toString() === this.relayId) await this.#proofs.show(connection)
  }

  #fail(error: unknown): void {
    const problem = error instanceof MeshError ? `${error.message}: ${error.hint}` : problemOf(error)
    if (this.#problem !== problem) {
      this.#problem = problem
      this.#logger.warn({ relay: this.address.toString(), problem }, 'no slot at relay; trying again by itself')
      this.#onProblem()
    }
    this.#refused = this.#proofs.key
    this.#againAfter(this.#backoff.fail())
  }

  /** After the pause, or as soon as this device has something else to show. */
  #againAfter(ms: number): void {
    if (this.#stopped) return
    const nextMs = Math.min(ms, checkMs)
    this.#timer = setTimeout(() => {
      if (ms <= nextMs || this.#proofs.key !== this.#refused) void this.hold()
      else this.#againAfter(ms - nextMs)
    }, nextMs)
  }

  #later(ms: number): void {
    if (!this.#stopped) this.#timer = setTimeout(() => void this.hold(), ms)
  }
}

export const keepReservations = (libp2p: Libp2p, relays: readonly Multiaddr[], parts: SlotParts): Reservations => {
  const given = relays.map((relay) => new Slot(libp2p, relay, parts))
  let learned: readonly Slot[] = []
  const all = (): readonly Slot[] => [...given, ...learned]
  const onDisconnect = ({ detail: peer }: { readonly detail: PeerId }): void => {
    for (const slot of all()) if (slot.relayId === peer.toString()) void slot.hold()
  }
  libp2p.addEventListener('peer:disconnect', onDisconnect)
  for (const slot of given) void slot.hold()
  return {
    learn: (named) => {
      const isAt = (address: Multiaddr) => (slot: Slot) => slot.address.toString() === address.toString()
      const wanted = named.filter((address) => !given.some(isAt(address)))
      const before = learned
      learned = wanted.map((address) => before.find(isAt(address)) ?? new Slot(libp2p, address, parts))
      for (const slot of before) if (!learned.includes(slot)) slot.stop()
      for (const slot of learned) if (!before.includes(slot)) void slot.hold()
    },
    states: () =>
      all().map(({ address, reserved, problem }) => ({
        address: address.toString(),
        reserved,
        ...(reserved || problem === '' ? {} : { problem }),
      })),
    stop: () => {
      libp2p.removeEventListener('peer:disconnect', onDisconnect)
      for (const slot of all()) slot.stop()
    },
  }
}
