/** A real agent whose control plane is anybody's: messages on its socket, and answers to what it asks. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { type WebSocket, WebSocketServer } from 'ws'
import { runDaemon } from '../../agent/daemon/daemon.ts'
import { createPool } from '../../agent/device/pools.ts'
import { saveDevice } from '../../agent/device/device.ts'
import type { AgentMessage } from '../../shared/api/messages.ts'
import { ControlMessage } from '../../shared/api/messages.ts'
import { type RouteName, type RouteRecord, routes } from '../../shared/api/routes.ts'
import { openHome } from '../../shared/home.ts'
import { createLogger } from '../../shared/log.ts'
import { anything } from './arbitrary-of-schema.ts'
import { damagedText, hostile } from './edits.ts'
import { handled } from './handled.ts'
import { anyTarget, type Target } from './run-cases.ts'
import { words } from './wire-targets.ts'

const controlPlaneKey = 'c'.repeat(64)
/** Answers that are ready for each route, one after another: making them is no part of a call. */
const readyAnswers = 200

const routeOf = ({ method, url = '' }: IncomingMessage): RouteName | undefined => {
  const path = url.split('?')[0]
  const found = (Object.entries(routes) as [RouteName, RouteRecord][]).find(
    ([, route]) => route.method === method && new RegExp(`^${route.path.replaceAll(/:\w+/g, '[^/]+')}$`).test(path),
  )
  return found?.[0]
}

class HostilePlane {
  readonly #answers = new Map<RouteName, { readonly ready: readonly string[]; next: number }>()
  readonly #server: Server
  #socket: WebSocket | undefined

  constructor() {
    this.#server = createServer(
      (request, response) => void request.resume().on('end', () => this.#answer(request, response)),
    )
    const sockets = new WebSocketServer({ server: this.#server })
    sockets.on('connection', (socket: WebSocket) => {
      this.#socket = socket
      socket.on('error', () => undefined)
      socket.on('message', (data: Buffer) => this.#hear(socket, JSON.parse(data.toString()) as AgentMessage))
    })
  }

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('it listens nowhere')
    return `http://127.0.0.1:${address.port}`
  }

  #hear(socket: WebSocket, message: AgentMessage): void {
    // what is settled is forgotten: memory stays flat
    if (message.type === 'job-done' || message.type === 'job-failed')
      socket.send(JSON.stringify({ type: 'job-settled', jobId: message.jobId }))
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const name = routeOf(request)
    response.setHeader('content-type', 'application/json')
    if (name === 'controlPlane') return void response.end(JSON.stringify({ controlPlaneKey }))
    if (name === 'registerDevice' || name === undefined) return void response.end('{}')
    const { answer = undefined }: RouteRecord = routes[name]
    const known = this.#answers.get(name) ?? {
      ready: fc.sample(
        (answer ? hostile(answer, words) : anything).map((value) => JSON.stringify(value) ?? ''),
        { seed: 1, numRuns: readyAnswers },
      ),
      next: 0,
    }
    this.#answers.set(name, known)
    response.end(known.ready[known.next++ % readyAnswers])
  }

  /** The socket of the agent, once it is there. */
  async socket(): Promise<WebSocket> {
    const deadline = Date.now() + 30_000
    while (this.#socket?.readyState !== 1) {
      if (Date.now() > deadline) throw new Error('the agent does not come back')
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return this.#socket
  }

  close(): void {
    this.#socket?.terminate()
    this.#server.close()
    this.#server.closeAllConnections()
  }
}

/** Rings that a message brought up end again. */
const ringIn = (text: string): string | undefined => {
  try {
    const { ring } = JSON.parse(text) as { ring?: { ringId?: unknown } }
    return typeof ring?.ringId === 'string' ? ring.ringId : undefined
  } catch {
    return undefined
  }
}

export interface PlaneTargets {
  readonly targets: readonly Target[]
  close(): Promise<void>
}

export const openPlaneTargets = async (): Promise<PlaneTargets> => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-fuzz-'))
  const home = openHome(folder)
  const plane = new HostilePlane()
  const url = await plane.listen()
  const device = saveDevice(home, { networkId: 'home', name: 'Fuzzed', controlPlaneUrl: url })
  const pool = createPool(home, device.deviceId, 'friends', Date.now())
  const defects: string[] = []
  const logger = createLogger('agent', 'error', {
    write: (line) => {
      if (/"type":"(?!MeshError")\w*Error"/.test(line)) defects.push(line)
    },
  })
  // a timer of more than 24 days fires at once, and again and again
  const warned = ({ name, message }: Error): void => void (name === 'TimeoutOverflowWarning' && defects.push(message))
  process.on('warning', warned)
  const end = new AbortController()
  let ended: string | undefined
  const running = runDaemon({
    home,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    relays: [],
    announce: [],
    discovery: 'none',
    backend: 'onnx',
    threads: 1,
    spinMs: 0,
    stepTimeoutMs: 1000,
    collective: { algorithm: 'auto', wire: 'auto' },
    carrier: 'streams',
    logger,
    signal: end.signal,
  }).then(
    () => (ended = 'it ended by itself'),
    (error: unknown) => (ended = String(error)),
  )
  const text = fc.oneof(
    {
      weight: 6,
      arbitrary: hostile(ControlMessage, [...words, pool.poolId, device.deviceId, pool.certificate]).map(
        (value) => JSON.stringify(value) ?? '',
      ),
    },
    { weight: 1, arbitrary: damagedText(hostile(ControlMessage).map((value) => JSON.stringify(value) ?? '')) },
  )
  const run = async (message: string): Promise<string> => {
    const socket = await plane.socket()
    socket.send(message)
    const ringId = ringIn(message)
    if (ringId !== undefined) socket.send(JSON.stringify({ type: 'ring-left', ringId }))
    await handled(socket)
    if (ended !== undefined) throw new Error(`the agent ended: ${ended}`)
    if (defects.length > 0) throw new Error(`the agent calls it a defect of its own: ${defects.splice(0).join('')}`)
    return socket.readyState === 1 ? 'taken' : 'closed'
  }
  return {
    targets: [anyTarget({ name: 'messages of a control plane', cases: text, run })],
    close: async () => {
      process.off('warning', warned)
      end.abort()
      await running
      plane.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
