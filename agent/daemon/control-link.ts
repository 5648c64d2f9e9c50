/**
 * The WebSocket to the control plane: connects, reconnects with growing pauses, says hello, and re-sends what the
 * control plane has not settled. The control plane may be away for any time; nothing here ends the agent.
 */
import { Value } from 'typebox/value'
import WebSocket from 'ws'
import type { Client, SocketPlan } from '../../shared/api/client.ts'
import { AgentMessage, ControlMessage } from '../../shared/api/messages.ts'
import { Backoff, backoffMs } from '../../shared/backoff.ts'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { limits } from '../../shared/limits.ts'

export interface ControlLinkOptions {
  /** The control plane to talk to; `prepare` may have chosen another one. */
  client(): Client
  readonly logger: Logger
  /** Run before each connection: registers the device, publishes pools. Failing means "not reachable yet". */
  prepare(): Promise<void>
  /** First message of each connection. */
  hello(): AgentMessage
  heartbeat(): AgentMessage
  onMessage(message: ControlMessage): void
  /** Called when the link comes up and when it goes away; `problem` says why. */
  onState(connected: boolean, problem: string): void
}

const pauses = { firstMs: 250, longestMs: 5000, jitter: 0.25 }
/** Whoever must be updated is not updated within seconds. */
const versionPauses = { firstMs: 60_000, longestMs: 60_000, jitter: 0.25 }
/** Used until the control plane says how often it wants to hear from us. */
const defaultHeartbeatMs = 5000
/** Whatever it says: a timer of 0 ms never rests, one of more than 24 days fires as often. */
const shortestBeatMs = 50
const longestBeatMs = 60_000
/** Silence of the control plane, in heartbeats, after which the connection counts as dead. */
const patience = 3
/** Milliseconds that the control plane has to answer when there is reason to doubt that it is there. */
const checkMs = 3000
/** Milliseconds that closing may take. */
const closeMs = 1000

export class ControlLink {
  readonly name = 'control link'
  readonly #options: ControlLinkOptions
  #socket: WebSocket | undefined
  #stopped = false
  readonly #backoff = new Backoff(pauses)
  #retry: NodeJS.Timeout | undefined
  /** The newest attempt to connect; older ones no longer count. */
  #attempt = 0
  #beat: NodeJS.Timeout | undefined
  /** The control plane was heard since the last heartbeat. */
  #heard = true
  /** Of which control plane was last said that it cannot be reached, and why. */
  #told = ''

  constructor(options: ControlLinkOptions) {
    this.#options = options
  }

  start(): void {
    void this.#connect()
  }

  /** Sends if connected; what is lost here is repeated by the next hello or by the outbox. */
  send(message: AgentMessage): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message))
  }

  /** Says hello again, because an address or a pool changed. Never throws: what cannot be read is said at the next one. */
  refresh(): void {
    try {
      this.send(this.#options.hello())
    } catch (error) {
      this.#options.logger.warn(MeshError.from(error).message)
    }
  }

  /** Looks now whether the control plane is there: the network changed, or somebody knows where it is. */
  check(): void {
    const socket = this.#socket
    if (this.#stopped) return
    if (socket === undefined) {
      this.#backoff.reset()
      // an attempt that runs may wait long for an address where nobody is any more: this one takes its place
      clearTimeout(this.#retry)
      void this.#connect()
    } else if (socket.readyState === WebSocket.OPEN) {
      const timer = setTimeout(() => socket.terminate(), checkMs)
      for (const event of ['pong', 'message', 'close'] as const) socket.once(event, () => clearTimeout(timer))
      socket.ping()
    }
  }

  /** Begins anew, be it with another control plane. */
  reconnect(): void {
    if (this.#stopped) return
    this.#backoff.reset()
    if (this.#socket !== undefined) return this.#socket.terminate()
    clearTimeout(this.#retry)
    void this.#connect()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#retry)
    clearInterval(this.#beat)
    const socket = this.#socket
    if (!socket || socket.readyState === WebSocket.CLOSED) return
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve())
      socket.close()
      setTimeout(() => socket.terminate(), closeMs).unref()
    })
  }

  async #connect(): Promise<void> {
    const attempt = ++this.#attempt
    try {
      await this.#options.prepare()
      const plan = await this.#options.client().socket()
      if (!this.#stopped && attempt === this.#attempt) this.#openSocket(plan)
    } catch (error) {
      if (attempt !== this.#attempt) return
      const failure = MeshError.from(error)
      const problem = failure.code === 'controlPlaneUnreachable' ? String(failure.fields.problem) : failure.message
      const pauseMs = this.#backoff.fail()
      this.#down(problem, failure.code === 'protocolVersion' ? backoffMs(0, versionPauses) : pauseMs)
    }
  }

  #openSocket({ url, ...plan }: SocketPlan): void {
    const socket = new WebSocket(url, { ...plan, maxPayload: limits.requestBytes, handshakeTimeout: 10_000 })
    this.#socket = socket
    let problem = 'connection closed'
    socket.on('open', () => {
      try {
        const hello = this.#options.hello() // reads from disk: what is damaged there must not end the agent
        this.#backoff.reset()
        this.#told = ''
        this.#options.onState(true, '')
        this.send(hello)
        this.#startHeartbeat(defaultHeartbeatMs)
      } catch (error) {
        problem = MeshError.from(error).message
        socket.terminate()
      }
    })
    socket.on('message', (data) => {
      this.#heard = true
      this.#receive(String(data))
    })
    socket.on('pong', () => {
      this.#heard = true
    })
    socket.on('unexpected-response', (_, response) => {
      problem = `HTTP ${response.statusCode}`
      socket.terminate()
    })
    socket.on('error', (error) => {
      problem = problemOf(error)
    })
    socket.on('close', () => this.#down(problem, this.#backoff.fail()))
  }

  #down(problem: string, pauseMs: number): void {
    const { client, logger, onState } = this.#options
    clearInterval(this.#beat)
    this.#socket = undefined
    if (this.#stopped) return
    const { url } = client()
    if (this.#told !== `${url} ${problem}`) {
      this.#told = `${url} ${problem}`
      logger.warn({ url, problem }, `no connection to the control plane at ${url}: ${problem}; trying again by itself`)
      onState(false, problem)
    }
    this.#retry = setTimeout(() => void this.#connect(), pauseMs)
  }

  #startHeartbeat(everyMs: number): void {
    clearInterval(this.#beat)
    this.#heard = true
    let missed = 0
    const beatMs = Math.min(longestBeatMs, Math.max(shortestBeatMs, everyMs))
    this.#beat = setInterval(() => {
      missed = this.#heard ? 0 : missed + 1
      if (missed >= patience) return this.#socket?.terminate()
      this.#heard = false
      this.send(this.#options.heartbeat())
      this.#socket?.ping()
    }, beatMs)
  }

  #receive(text: string): void {
    const { logger, onMessage } = this.#options
    let message: unknown
    try {
      message = JSON.parse(text)
    } catch {
      // which words are no JSON would quote a prompt
      logger.warn({ length: text.length }, 'the control plane sent no JSON')
      return
    }
    if (!Value.Check(ControlMessage, message)) {
      const [first] = Value.Errors(ControlMessage, message)
      logger.warn(
        { problem: `${first?.instancePath} ${first?.message}` },
        'the control plane sent a message that this version does not know',
      )
      return
    }
    if (message.type === 'welcome') this.#startHeartbeat(message.heartbeatMs)
    try {
      onMessage(message)
    } catch (error) {
      logger.error({ err: error, type: message.type }, MeshError.from(error).message)
    }
  }
}
