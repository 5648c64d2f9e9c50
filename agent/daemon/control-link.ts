/**
 * The WebSocket to the control plane: connects, reconnects with growing pauses, says hello, and re-sends what the
 * control plane has not settled. The control plane may be away for any time; nothing here ends the agent.
 */
import { Value } from 'typebox/value'
import WebSocket from 'ws'
import type { Client } from '../../shared/api/client.ts'
import { AgentMessage, ControlMessage } from '../../shared/api/messages.ts'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { limits } from '../../shared/wire/limits.ts'

export interface ControlLinkOptions {
  readonly client: Client
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

export interface ControlLink {
  readonly name: string
  start(): void
  /** Sends if connected; what is lost here is repeated by the next hello or heartbeat. */
  send(message: AgentMessage): void
  /** Says hello again, because an address or a pool changed. */
  refresh(): void
  stop(): Promise<void>
}

const firstPauseMs = 250
const longestPauseMs = 10_000
/** Used until the control plane says how often it wants to hear from us. */
const defaultHeartbeatMs = 5000
/** Silence of the control plane, in heartbeats, after which the connection counts as dead. */
const patience = 3

export const createControlLink = (options: ControlLinkOptions): ControlLink => {
  const { client, logger } = options
  let socket: WebSocket | undefined
  let stopped = false
  let pauseMs = firstPauseMs
  let retry: NodeJS.Timeout | undefined
  let beat: NodeJS.Timeout | undefined
  let answered = true
  let lastProblem = ''

  const send = (message: AgentMessage): void => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message))
  }

  const down = (problem: string): void => {
    clearInterval(beat)
    socket = undefined
    if (stopped) return
    if (problem !== lastProblem) {
      lastProblem = problem
      logger.warn({ url: client.url, problem }, `no connection to the control plane at ${client.url}: ${problem}; trying again by itself`)
      options.onState(false, problem)
    }
    retry = setTimeout(() => void connect(), pauseMs * (0.75 + Math.random() / 2))
    pauseMs = Math.min(longestPauseMs, pauseMs * 2)
  }

  const startHeartbeat = (everyMs: number): void => {
    clearInterval(beat)
    answered = true
    let missed = 0
    beat = setInterval(() => {
      missed = answered ? 0 : missed + 1
      if (missed >= patience) return socket?.terminate()
      answered = false
      send(options.heartbeat())
      socket?.ping()
    }, everyMs)
  }

  const receive = (text: string): void => {
    let message: unknown
    try {
      message = JSON.parse(text)
    } catch (error) {
      logger.warn({ problem: problemOf(error) }, 'the control plane sent no JSON')
      return
    }
    if (!Value.Check(ControlMessage, message)) {
      const [first] = Value.Errors(ControlMessage, message)
      logger.warn({ problem: `${first?.instancePath} ${first?.message}` }, 'the control plane sent a message that this version does not know')
      return
    }
    if (message.type === 'welcome') startHeartbeat(message.heartbeatMs)
    options.onMessage(message)
  }

  const open = (): void => {
    const { url, headers } = client.socket()
    const opening = new WebSocket(url, { headers, maxPayload: limits.requestBytes, handshakeTimeout: 10_000 })
    socket = opening
    let problem = 'connection closed'
    opening.on('open', () => {
      pauseMs = firstPauseMs
      lastProblem = ''
      options.onState(true, '')
      send(options.hello())
      startHeartbeat(defaultHeartbeatMs)
    })
    opening.on('message', (data) => {
      answered = true
      receive(String(data))
    })
    opening.on('pong', () => {
      answered = true
    })
    opening.on('unexpected-response', (_, response) => {
      problem = `HTTP ${response.statusCode}`
      opening.terminate()
    })
    opening.on('error', (error) => {
      problem = problemOf(error)
    })
    opening.on('close', () => down(problem))
  }

  const connect = async (): Promise<void> => {
    try {
      await options.prepare()
      if (!stopped) open()
    } catch (error) {
      const failure = MeshError.from(error)
      down(failure.code === 'controlPlaneUnreachable' ? String(failure.fields.problem) : failure.message)
    }
  }

  return {
    name: 'control link',
    start: () => void connect(),
    send,
    refresh: () => send(options.hello()),
    stop: async () => {
      stopped = true
      clearTimeout(retry)
      clearInterval(beat)
      const open = socket
      if (!open || open.readyState === WebSocket.CLOSED) return
      await new Promise<void>((resolve) => {
        open.once('close', () => resolve())
        open.close()
        setTimeout(() => open.terminate(), 1000).unref()
      })
    },
  }
}
