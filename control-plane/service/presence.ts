/** Which agents are connected, and what they said of themselves. In memory: it is true only while the socket lives. */
import type { ControlMessage } from '../../shared/api/messages.ts'
import type { MemberReport } from '../domain/ring-formation.ts'

/** The other end of an agent's WebSocket. */
export interface AgentSocket {
  send(message: ControlMessage): void
  close(reason: string): void
}

export type Report = MemberReport & { readonly epoch: number; readonly progress: number }

export interface Agent {
  readonly deviceId: string
  readonly socket: AgentSocket
  peerId: string
  addresses: readonly string[]
  /** Pools of its valid certificates, with the role there. */
  readonly pools: Map<string, 'admin' | 'member'>
  lastSeenAt: number
  /** It said hello. */
  greeted: boolean
}

export class Presence {
  readonly #agents = new Map<string, Agent>()
  readonly #leftAt = new Map<string, number>()

  /** A newer socket of the same device replaces the older one. */
  connect(deviceId: string, socket: AgentSocket, now: number): Agent {
    this.#agents.get(deviceId)?.socket.close('replaced by a newer connection')
    const agent: Agent = { deviceId, socket, peerId: '', addresses: [], pools: new Map(), lastSeenAt: now, greeted: false }
    this.#agents.set(deviceId, agent)
    return agent
  }

  /** @returns false when that socket was replaced already */
  disconnect(agent: Agent, now: number): boolean {
    if (this.#agents.get(agent.deviceId) !== agent) return false
    this.#agents.delete(agent.deviceId)
    this.#leftAt.set(agent.deviceId, now)
    return true
  }

  /** An agent that said hello. */
  find(deviceId: string): Agent | undefined {
    const agent = this.#agents.get(deviceId)
    return agent?.greeted ? agent : undefined
  }

  isOnline(deviceId: string): boolean {
    return this.find(deviceId) !== undefined
  }

  /** When the device went away; 0 when it was not seen since we started. */
  leftAt(deviceId: string): number {
    return this.#leftAt.get(deviceId) ?? 0
  }

  admins(poolId: string): Agent[] {
    return [...this.#agents.values()].filter((agent) => agent.greeted && agent.pools.get(poolId) === 'admin')
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
