/** The WebSockets of agents: messages in, checked; presence and leases. */
import { Value } from 'typebox/value'
import type { WebSocket } from 'ws'
import { AgentMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import { poolIdIn } from '../../shared/identity/pool-certificate.ts'
import type { Logger } from '../../shared/log.ts'
import type { Role } from '../../shared/schema/pool.ts'
import { oneLine } from '../../shared/text.ts'
import type { DeviceStore } from '../store/device-store.ts'
import type { PoolStore } from '../store/pool-store.ts'
import { type Budget, Budgets } from '../domain/budgets.ts'
import type { Admission } from './admission.ts'
import { boundSocket } from './bound-socket.ts'
import type { Background } from './background.ts'
import type { Credits } from './credits.ts'
import type { JobLeaders } from './job-leaders.ts'
import type { JoinRequests } from './join-requests.ts'
import type { Locks } from './locks.ts'
import type { Memberships } from './memberships.ts'
import type { Pins } from './pins.ts'
import type { Agent, Presence } from './presence.ts'
import type { Revocations } from './revocations.ts'
import type { RingEpochs } from './ring-epochs.ts'
import type { RingReports } from './ring-reports.ts'
import type { SumReports } from './sum-reports.ts'

export interface AgentSocketsOptions {
  readonly admission: Admission
  readonly presence: Presence
  readonly memberships: Memberships
  readonly revocations: Revocations
  readonly joinRequests: JoinRequests
  readonly deviceStore: DeviceStore
  readonly poolStore: PoolStore
  readonly ringEpochs: RingEpochs
  readonly ringReports: RingReports
  readonly sumReports: SumReports
  readonly locks: Locks
  readonly jobLeaders: JobLeaders
  readonly credits: Credits
  readonly pins: Pins
  readonly background: Background
  readonly now: () => number
  readonly heartbeatMs: number
  readonly leaseMs: number
  /** Named to every device: libp2p addresses. */
  readonly relays: readonly string[]
  readonly logger: Logger
}

/** How a socket came. */
export interface Opening {
  readonly address: string
  /** The device showed that it belongs to a pool; told again with each message. */
  onMember(): void
}

/** Malformed messages and certificates before a socket is closed: a newer agent may know a few that we do not. */
const tolerated = 3
/** Bytes of a message that cost a stranger as much as a request does. */
const bytesPerUnit = 4096
/** What members send at most, in messages and pieces of that size: rank 0 of a few quick rings a tenth of it. */
const ofMember: Budget = { most: 10_000, perSecond: 2000 }

export class AgentSockets {
  readonly #options: AgentSocketsOptions
  readonly #timer: NodeJS.Timeout
  readonly #members = new Budgets(ofMember)
  #stopped = false

  constructor(options: AgentSocketsOptions) {
    this.#options = options
    const { background } = options
    this.#timer = setInterval(
      () => background.run('looking at leases', () => this.#expire()),
      Math.max(50, options.leaseMs / 4),
    )
    this.#timer.unref()
    background.onRecovery(() => this.#askAgain())
  }

  /** A device opened its socket; its request was signed. */
  accept(deviceId: string, socket: WebSocket, { address, onMember }: Opening): void {
    const { presence, admission, background, now, logger } = this.#options
    const agent = presence.connect(deviceId, boundSocket(socket), now())
    let malformed = 0
    const heard = (): void => {
      agent.lastSeenAt = now()
    }
    socket.on('message', (data: Buffer) => {
      // what a replaced socket still brings comes again on the newer one
      if (this.#stopped || !presence.isCurrent(agent)) return
      heard()
      try {
        this.#allow(agent, address, data.length)
        this.#receive(agent, parse(String(data)))
        agent.socket.allow(agent.pools.size > 0 ? 'member' : 'stranger')
        if (agent.pools.size > 0) {
          admission.noteMember(address, deviceId)
          onMember()
        }
        malformed += agent.badCertificates.size > tolerated ? agent.badCertificates.size : 0
        if (malformed > tolerated) agent.socket.close('too many certificates that do not hold')
      } catch (error) {
        const failure = MeshError.from(error)
        if (failure.code === 'tooManyRequests') malformed = tolerated
        // nothing is wrong with what it said
        if (background.note(failure)) return this.#cannotStore(agent, failure)
        if (failure.code === 'internal') logger.error({ device: deviceId, err: failure.cause }, failure.message)
        agent.socket.send({ type: 'error', error: failure.toReport() })
        if (++malformed > tolerated) agent.socket.close('too many malformed messages')
      }
    })
    socket.on('pong', heard)
    socket.on('ping', heard)
    socket.on('error', (error) => logger.debug({ device: deviceId, problem: error.message }, 'socket error'))
    socket.on('close', () => background.run('losing an agent', () => this.#lose(agent)))
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    for (const { socket } of this.#options.presence.all()) socket.close('the control plane stops')
  }

  /**
   * A device that showed no certificate yet may be anybody's: its address pays for what it says, by size. A member pays
   * by itself, out of more than any agent needs; what it could not say it says again on the next socket.
   * @throws MeshError `tooManyRequests`
   */
  #allow(agent: Agent, address: string, bytes: number): void {
    const { admission, now } = this.#options
    const units = 1 + Math.floor(bytes / bytesPerUnit)
    if (agent.pools.size > 0) {
      const waitMs = this.#members.waitMs(agent.deviceId, 1, now())
      if (waitMs > 0)
        throw new MeshError('tooManyRequests', { sender: 'this device', retryAfterSeconds: Math.ceil(waitMs / 1000) })
      return this.#members.charge(agent.deviceId, units, now())
    }
    admission.admit(address, agent.deviceId)
    admission.charge(address, agent.deviceId, units)
  }

  #cannotStore(agent: Agent, failure: MeshError): void {
    if (!agent.unheard) agent.socket.send({ type: 'error', error: failure.toReport() })
    agent.unheard = true
  }

  /**
   * There is room again. Whoever is welcomed says once more what is not settled, and what is known already is dropped.
   */
  #askAgain(): void {
    const { presence, now, heartbeatMs } = this.#options
    for (const agent of presence.all()) {
      if (!agent.unheard) continue
      agent.unheard = false
      agent.socket.send({ type: 'welcome', serverTime: now(), heartbeatMs })
    }
  }

  #receive(agent: Agent, message: AgentMessage): void {
    const { ringReports, sumReports, locks, jobLeaders, credits } = this.#options
    if (message.type === 'hello') this.#greet(agent, message)
    else if (!agent.greeted) throw new MeshError('requestInvalid', { problem: `${message.type} before hello` })
    else if (message.type === 'renew') this.#renew(agent, message.certificate)
    else if (message.type === 'ring-state') {
      ringReports.report(agent, message.ringId, message)
      sumReports.receive(agent.deviceId, message)
    } else if (message.type === 'ring-trial-state') ringReports.tried(agent, message.ringId, message)
    else if (message.type === 'ring-retry') ringReports.askAgain(agent, message.ringId)
    else if (message.type === 'work-report') {
      credits.receive(agent.deviceId, message.poolId, message.report)
      agent.socket.send({ type: 'report-kept', jobId: message.jobId })
    } else if (message.type === 'heartbeat') locks.measured(agent.deviceId, message.lockMissingBytes ?? 0)
    else if (message.type === 'job-progress') jobLeaders.progress(agent, message.jobId, message.readTokens)
    else jobLeaders.receive(agent, message)
  }

  #greet(agent: Agent, hello: Extract<AgentMessage, { type: 'hello' }>): void {
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
    this.#saw(agent.deviceId, now())
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
  #renew(agent: Agent, certificate: string): void {
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

  #expire(): void {
    const { presence, background, now, leaseMs, logger } = this.#options
    for (const agent of presence.expired(now(), leaseMs)) {
      logger.warn({ device: agent.deviceId }, 'lease ended: the agent was silent')
      agent.socket.close('lease ended')
      // at once: a machine that is gone will not confirm
      background.run('losing an agent', () => this.#lose(agent))
    }
  }

  /** Worth a try: when a device was seen last is for people to read. */
  #saw(deviceId: string, at: number): void {
    const { background, deviceStore } = this.#options
    background.run('storing when a device was seen', () => deviceStore.seen(deviceId, at))
  }

  #lose(agent: Agent): void {
    const { presence, jobLeaders, ringReports, now, logger } = this.#options
    // once we stop, nobody is lost: agents come back to the next process
    if (this.#stopped || !presence.disconnect(agent, now()) || !agent.greeted) return
    this.#saw(agent.deviceId, agent.lastSeenAt)
    logger.info({ device: agent.deviceId }, 'agent went away')
    jobLeaders.lose(agent.deviceId)
    ringReports.lose(agent.deviceId)
  }
}

const parse = (text: string): AgentMessage => {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch (error) {
    throw new MeshError('requestInvalid', { problem: 'not JSON' }, error)
  }
  if (!Value.Check(AgentMessage, message)) {
    const [first] = Value.Errors(AgentMessage, message)
    throw new MeshError('requestInvalid', {
      problem: `${first?.instancePath || 'message'} ${first?.message ?? 'is malformed'}`,
    })
  }
  return cleaned(message)
}

/** What others are shown of it: failures are kept and told to the whole pool. */
const cleaned = (message: AgentMessage): AgentMessage => {
  const shown =
    'error' in message && message.error ? { ...message, error: MeshError.cleanReport(message.error) } : message
  if (shown.type !== 'ring-state') return shown
  const { network, checks } = shown
  return {
    ...shown,
    ...(network?.streamsReason === undefined
      ? {}
      : { network: { ...network, streamsReason: oneLine(network.streamsReason) } }),
    ...(checks
      ? { checks: checks.map((one) => (one.problem === undefined ? one : { ...one, problem: oneLine(one.problem) })) }
      : {}),
  }
}
