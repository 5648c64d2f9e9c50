/** Which agents are connected, and what they said of themselves. In memory: it is true only while the socket lives. */
import type { ControlMessage } from '../../shared/api/messages.ts'
import type { Certificate } from '../../shared/identity/pool-certificate.ts'
import type { Loading, RingNetwork } from '../../shared/schema/ring.ts'
import type { MemberReport } from '../domain/ring-formation.ts'

/** The other end of an agent's WebSocket. */
export interface AgentSocket {
  send(message: ControlMessage): void
  /** What it may send from now on: a member an answer, others no more than a hello. */
  allow(as: 'member' | 'stranger'): void
  /** Ends the connection, also when the other end does not answer any more. */
  close(reason: string): void
}

export type Report = MemberReport & {
  readonly epoch: number
  readonly progress: number
  readonly loading?: Loading
  readonly network?: RingNetwork
  readonly sealingKey?: string
}

type Membership = Pick<Certificate, 'role' | 'notAfter'>

export interface Agent {
  readonly deviceId: string
  readonly socket: AgentSocket
  peerId: string
  addresses: readonly string[]
  /** Pools of its valid certificates. */
  readonly pools: Map<string, Membership>
  lastSeenAt: number
  /** Bytes its machine lacks to keep its memory lock. */
  missingMemoryBytes: number
  /** It said hello. */
  greeted: boolean
  /** It knows trials: it loads its part of an epoch before anybody waits for it. */
  canTry: boolean
  /** Texts that it showed and that are no certificate of its own: looked at once. */
  readonly badCertificates: Set<string>
  /** Something that it said could not be stored: it shall say it again when there is room. */
  unheard: boolean
}

export class Presence {
  readonly #agents = new Map<string, Agent>()
  readonly #leftAt = new Map<string, number>()
  readonly #startedAt: number

  constructor(startedAt: number) {
    this.#startedAt = startedAt
  }

  /** A newer socket of the same device replaces the older one. */
  connect(deviceId: string, socket: AgentSocket, now: number): Agent {
    this.#agents.get(deviceId)?.socket.close('replaced by a newer connection')
    const agent: Agent = {
      deviceId,
      socket,
      peerId: '',
      addresses: [],
      pools: new Map(),
      badCertificates: new Set(),
      lastSeenAt: now,
      missingMemoryBytes: 0,
      greeted: false,
      canTry: false,
      unheard: false,
    }
    this.#agents.set(deviceId, agent)
    return agent
  }

  /** @returns false when that agent is gone or was replaced already */
  disconnect(agent: Agent, now: number): boolean {
    if (!this.isCurrent(agent)) return false
    this.#agents.delete(agent.deviceId)
    this.#leftAt.set(agent.deviceId, now)
    return true
  }

  /** It is the newest connection of its device. */
  isCurrent(agent: Agent): boolean {
    return this.#agents.get(agent.deviceId) === agent
  }

  /** An agent that said hello. */
  find(deviceId: string): Agent | undefined {
    const agent = this.#agents.get(deviceId)
    return agent?.greeted ? agent : undefined
  }

  isOnline(deviceId: string): boolean {
    return this.find(deviceId) !== undefined
  }

  /** It is connected, and its certificate of that pool is valid. */
  isMember(deviceId: string, poolId: string, now: number): boolean {
    return now < (this.find(deviceId)?.pools.get(poolId)?.notAfter ?? 0)
  }

  /** Bytes that the machine of a device lacks to keep its lock; 0 when nobody says so. */
  missingMemory(deviceId: string): number {
    return this.#agents.get(deviceId)?.missingMemoryBytes ?? 0
  }

  setMissingMemory(deviceId: string, bytes: number): void {
    const agent = this.#agents.get(deviceId)
    if (agent) agent.missingMemoryBytes = bytes
  }

  /** The device showed a certificate that was found valid. */
  admit({ deviceId, poolId, role, notAfter }: Certificate): void {
    this.#agents.get(deviceId)?.pools.set(poolId, { role, notAfter })
  }

  /** The device is no member of that pool any more. */
  expel(deviceId: string, poolId: string): void {
    this.#agents.get(deviceId)?.pools.delete(poolId)
  }

  /** Connected agents that showed a certificate of that pool. */
  membersOf(poolId: string): Agent[] {
    return [...this.#agents.values()].filter(({ pools }) => pools.has(poolId))
  }

  /**
   * Until when to wait for a device that is away: for the grace time since it left; after a restart of ours for the
   * lease, which is what agents need to find us again.
   */
  awaitedUntil(deviceId: string, { graceMs, leaseMs }: { readonly graceMs: number; readonly leaseMs: number }): number {
    const leftAt = this.#leftAt.get(deviceId)
    return leftAt === undefined ? this.#startedAt + leaseMs : leftAt + graceMs
  }

  admins(poolId: string, now: number): Agent[] {
    return [...this.#agents.values()].filter(
      ({ deviceId, pools }) => pools.get(poolId)?.role === 'admin' && this.isMember(deviceId, poolId, now),
    )
  }

  get count(): number {
    return [...this.#agents.values()].filter(({ greeted }) => greeted).length
  }

  /** Agents that were silent for longer than the lease. */
  expired(now: number, leaseMs: number): Agent[] {
    return [...this.#agents.values()].filter(({ lastSeenAt }) => now - lastSeenAt > leaseMs)
  }

  all(): Agent[] {
    return [...this.#agents.values()]
  }
}
