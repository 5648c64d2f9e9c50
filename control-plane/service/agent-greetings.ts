/** What happens when an agent says hello: its certificates are looked at, and it hears what it missed. */
import type { AgentMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import { poolIdIn } from '../../shared/identity/pool-certificate.ts'
import type { Logger } from '../../shared/log.ts'
import type { Role } from '../../shared/schema/pool.ts'
import type { DeviceStore } from '../store/device-store.ts'
import type { PoolStore } from '../store/pool-store.ts'
import type { Background } from './background.ts'
import type { JobLeaders } from './job-leaders.ts'
import type { JoinRequests } from './join-requests.ts'
import type { Memberships } from './memberships.ts'
import type { Pins } from './pins.ts'
import type { Agent, Presence } from './presence.ts'
import type { Revocations } from './revocations.ts'
import type { RingEpochs } from './ring-epochs.ts'
import type { RingReports } from './ring-reports.ts'

export interface AgentGreetingsOptions {
  readonly presence: Presence
  readonly memberships: Memberships
  readonly revocations: Revocations
  readonly pins: Pins
  readonly joinRequests: JoinRequests
  readonly deviceStore: DeviceStore
  readonly poolStore: PoolStore
  readonly ringEpochs: RingEpochs
  readonly ringReports: RingReports
  readonly jobLeaders: JobLeaders
  readonly background: Background
  readonly now: () => number
  readonly heartbeatMs: number
  /** Named to every device: libp2p addresses. */
  readonly relays: readonly string[]
  readonly logger: Logger
}

/** Malformed messages and certificates before a socket is closed: a newer agent may know a few that we do not. */
export const tolerated = 3

export class AgentGreetings {
  readonly #options: AgentGreetingsOptions

  constructor(options: AgentGreetingsOptions) {
    this.#options = options
  }

  /** The first hello of a socket is welcomed; later ones tell what changed. */
  greet(agent: Agent, hello: Extract<AgentMessage, { type: 'hello' }>): void {
    const { ringEpochs, ringReports, jobLeaders, heartbeatMs, relays, now, logger } = this.#options
    const isNew = !agent.greeted
    agent.peerId = hello.peerId
    agent.addresses = hello.addresses
    agent.canTry = hello.trials ?? false
    agent.missingMemoryBytes = hello.lockMissingBytes ?? 0
    agent.pools.clear()
    const moved: string[] = []
    for (const certificate of new Set(hello.certificates)) {
      if (agent.badCertificates.size <= tolerated) moved.push(...this.#admit(agent, certificate))
    }
    agent.greeted = true
    agent.socket.allow(agent.pools.size > 0 ? 'member' : 'stranger') // lists of several pools follow
    this.saw(agent.deviceId, now())
    if (!isNew) return ringEpochs.evaluateOf(agent.deviceId)
    logger.info({ device: agent.deviceId, pools: agent.pools.size }, 'agent connected')
    agent.socket.send({
      type: 'welcome',
      serverTime: now(),
      heartbeatMs,
      ...(relays.length === 0 ? {} : { relays: [...relays] }),
    })
    ringReports.greet(agent)
    jobLeaders.greet(agent)
    for (const poolId of [...moved, ...agent.pools.keys()]) this.#tellPin(agent, poolId)
    for (const [poolId, { role }] of agent.pools) this.#tellPool(agent, poolId, role)
  }

  #tellPool(agent: Agent, poolId: string, role: Role): void {
    const { poolStore, revocations, joinRequests } = this.#options
    const pool = poolStore.find(poolId)
    const list = pool && revocations.of(pool)?.text
    if (list !== undefined) agent.socket.send({ type: 'revocations', poolId, list })
    if (role === 'admin')
      for (const request of joinRequests.waiting(poolId)) agent.socket.send({ type: 'join-request', poolId, request })
  }

  #tellPin(agent: Agent, poolId: string): void {
    const pool = this.#options.poolStore.find(poolId)
    const pin = pool && this.#options.pins.pinOf(pool)?.text
    if (pin !== undefined) agent.socket.send({ type: 'control-plane-pin', poolId, pin })
  }

  /** Some admin whose agent is here may sign a new one; the device asks again until one did. */
  renew(agent: Agent, certificate: string): void {
    const { memberships, presence, now } = this.#options
    const { poolId } = memberships.renewable(certificate, agent.deviceId)
    for (const admin of presence.admins(poolId, now()))
      admin.socket.send({ type: 'renewal-request', poolId, certificate })
  }

  /**
   * A certificate that does not hold costs the agent that pool, not the connection.
   * @returns the pool, where that was moved to another control plane while the agent was away
   */
  #admit(agent: Agent, text: string): string[] {
    const { memberships, logger } = this.#options
    if (agent.badCertificates.has(text)) return []
    try {
      memberships.show(text, agent.deviceId)
    } catch (error) {
      const failure = MeshError.from(error)
      if (failure.code === 'certificateInvalid') agent.badCertificates.add(text)
      logger[failure.code === 'internal' ? 'error' : 'info'](
        { device: agent.deviceId, code: failure.code },
        failure.message,
      )
      const poolId = failure.code === 'poolMoved' ? poolIdIn(text) : undefined
      return poolId === undefined ? [] : [poolId]
    }
    return []
  }

  /** Worth a try: when a device was seen last is for people to read. */
  saw(deviceId: string, at: number): void {
    const { background, deviceStore } = this.#options
    background.run('storing when a device was seen', () => deviceStore.seen(deviceId, at))
  }
}
