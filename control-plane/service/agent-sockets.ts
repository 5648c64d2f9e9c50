/** The WebSockets of agents: messages in, checked; presence and leases. */
import { Value } from 'typebox/value'
import type { WebSocket } from 'ws'
import { AgentMessage, type ControlMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import { verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import type { Logger } from '../../shared/log.ts'
import type { DeviceStore } from '../store/device-store.ts'
import type { PoolStore } from '../store/pool-store.ts'
import type { Jobs } from './jobs.ts'
import { requestsFor } from './join-requests.ts'
import type { Agent, Presence } from './presence.ts'
import type { Rings } from './rings.ts'

export interface AgentSocketsOptions {
  readonly presence: Presence
  readonly devices: DeviceStore
  readonly pools: PoolStore
  readonly rings: Rings
  readonly jobs: Jobs
  readonly now: () => number
  readonly heartbeatMs: number
  readonly leaseMs: number
  readonly logger: Logger
}

/** Malformed messages before a socket is closed: a newer agent may know a few that we do not. */
const tolerated = 3

export class AgentSockets {
  readonly #options: AgentSocketsOptions
  readonly #timer: NodeJS.Timeout
  #stopped = false

  constructor(options: AgentSocketsOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#expire(), Math.max(50, options.leaseMs / 4))
    this.#timer.unref()
  }

  /** A device opened its socket; its request was signed. */
  accept(deviceId: string, socket: WebSocket): void {
    const { presence, devices, rings, jobs, now, logger } = this.#options
    const send = (message: ControlMessage): void => {
      if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message))
    }
    const agent = presence.connect(deviceId, { send, close: (reason) => socket.close(1000, reason) }, now())
    let malformed = 0
    socket.on('message', (data) => {
      agent.lastSeenAt = now()
      try {
        this.#receive(agent, parse(String(data)))
      } catch (error) {
        const failure = MeshError.from(error)
        if (failure.code === 'internal') logger.error({ device: deviceId, err: failure.cause }, failure.message)
        send({ type: 'error', error: failure.toReport() })
        if (++malformed > tolerated) socket.close(1008, 'too many malformed messages')
      }
    })
    socket.on('pong', () => {
      agent.lastSeenAt = now()
    })
    socket.on('ping', () => {
      agent.lastSeenAt = now()
    })
    socket.on('error', (error) => logger.debug({ device: deviceId, problem: error.message }, 'socket error'))
    socket.on('close', () => {
      // once we stop, nobody is lost: agents come back to the next process
      if (this.#stopped || !presence.disconnect(agent, now())) return
      devices.seen(deviceId, now())
      logger.info({ device: deviceId }, 'agent went away')
      jobs.lose(deviceId)
      rings.lose(deviceId)
    })
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    for (const { socket } of this.#options.presence.all()) socket.close('the control plane stops')
  }

  #receive(agent: Agent, message: AgentMessage): void {
    const { rings, jobs } = this.#options
    if (message.type === 'hello') this.#greet(agent, message)
    else if (!agent.greeted) throw new MeshError('requestInvalid', { problem: `${message.type} before hello` })
    else if (message.type === 'ring-state') rings.report(agent, message.ringId, message)
    else if (message.type !== 'heartbeat') jobs.receive(agent, message)
  }

  #greet(agent: Agent, hello: Extract<AgentMessage, { type: 'hello' }>): void {
    const { devices, rings, jobs, pools, heartbeatMs, now, logger } = this.#options
    const isNew = !agent.greeted
    agent.peerId = hello.peerId
    agent.addresses = hello.addresses
    agent.pools.clear()
    for (const certificate of hello.certificates) this.#admit(agent, certificate)
    agent.greeted = true
    devices.seen(agent.deviceId, now())
    if (!isNew) return
    logger.info({ device: agent.deviceId, pools: agent.pools.size }, 'agent connected')
    agent.socket.send({ type: 'welcome', serverTime: now(), heartbeatMs })
    rings.greet(agent)
    jobs.greet(agent)
    for (const [poolId, role] of agent.pools) {
      if (role === 'admin') for (const request of requestsFor(pools, poolId)) agent.socket.send({ type: 'join-request', poolId, request })
    }
  }

  /** A certificate that does not hold costs the agent that pool, not the connection. */
  #admit(agent: Agent, text: string): void {
    const { pools, now, logger } = this.#options
    for (const pool of pools.ofDevice(agent.deviceId)) {
      try {
        const certificate = verifyCertificate(text, Buffer.from(pool.rootPublicKey, 'hex'), now())
        if (certificate.deviceId === agent.deviceId) agent.pools.set(pool.poolId, certificate.role)
        return
      } catch (error) {
        logger.debug({ device: agent.deviceId, pool: pool.poolId, code: MeshError.from(error).code }, 'certificate does not fit')
      }
    }
  }

  #expire(): void {
    const { presence, now, leaseMs, logger } = this.#options
    for (const agent of presence.expired(now(), leaseMs)) {
      logger.warn({ device: agent.deviceId }, 'lease ended: the agent was silent')
      agent.socket.close('lease ended')
    }
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
    throw new MeshError('requestInvalid', { problem: `${first?.instancePath || 'message'} ${first?.message ?? 'is malformed'}` })
  }
  return message
}
