/** The WebSockets of agents: messages in, checked; presence and leases. */
import type { WebSocket } from 'ws'
import type { AgentMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { readAgentMessage } from '../domain/agent-message.ts'
import { type Budget, Budgets } from '../domain/budgets.ts'
import type { Admission } from './admission.ts'
import { type AgentGreetings, tolerated } from './agent-greetings.ts'
import { boundSocket } from './bound-socket.ts'
import type { Background } from './background.ts'
import type { Credits } from './credits.ts'
import type { JobLeaders } from './job-leaders.ts'
import type { Locks } from './locks.ts'
import type { Agent, Presence } from './presence.ts'
import type { RingReports } from './ring-reports.ts'
import type { SumReports } from './sum-reports.ts'

export interface AgentSocketsOptions {
  readonly admission: Admission
  readonly agentGreetings: AgentGreetings
  readonly presence: Presence
  readonly ringReports: RingReports
  readonly sumReports: SumReports
  readonly locks: Locks
  readonly jobLeaders: JobLeaders
  readonly credits: Credits
  readonly background: Background
  readonly now: () => number
  readonly heartbeatMs: number
  readonly leaseMs: number
  readonly logger: Logger
}

/** How a socket came. */
export interface Opening {
  readonly address: string
  /** The device showed that it belongs to a pool; told again with each message. */
  onMember(): void
}

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
        this.#receive(agent, readAgentMessage(String(data)))
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
    const { agentGreetings, ringReports, sumReports, locks, jobLeaders, credits } = this.#options
    if (message.type === 'hello') agentGreetings.greet(agent, message)
    else if (!agent.greeted) throw new MeshError('requestInvalid', { problem: `${message.type} before hello` })
    else if (message.type === 'renew') agentGreetings.renew(agent, message.certificate)
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

  #expire(): void {
    const { presence, background, now, leaseMs, logger } = this.#options
    for (const agent of presence.expired(now(), leaseMs)) {
      logger.warn({ device: agent.deviceId }, 'lease ended: the agent was silent')
      agent.socket.close('lease ended')
      // at once: a machine that is gone will not confirm
      background.run('losing an agent', () => this.#lose(agent))
    }
  }

  #lose(agent: Agent): void {
    const { agentGreetings, presence, jobLeaders, ringReports, now, logger } = this.#options
    // once we stop, nobody is lost: agents come back to the next process
    if (this.#stopped || !presence.disconnect(agent, now()) || !agent.greeted) return
    agentGreetings.saw(agent.deviceId, agent.lastSeenAt)
    logger.info({ device: agent.deviceId }, 'agent went away')
    jobLeaders.lose(agent.deviceId)
    ringReports.lose(agent.deviceId)
  }
}
