/**
 * One port for TLS and plain HTTP: the first byte tells which it is. Plain HTTP is for programs of this machine, where
 * nobody else listens; anybody else is told in one line where TLS is, at the cost of nothing but that line.
 */
import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { MeshError } from '../../shared/errors.ts'
import { asUrlHost } from '../../shared/url-host.ts'
import { limits } from '../../shared/limits.ts'
import { isLoopback } from '../../shared/loopback.ts'
import { householdOf } from '../../shared/household.ts'
import { PendingConnections } from '../../shared/pending-connections.ts'
import { type Budget, Budgets } from '../domain/budgets.ts'
import type { TlsIdentities } from './tls-identities.ts'

export interface SharedPortOptions {
  readonly identities: TlsIdentities
  /** Serves plain HTTP to everybody. */
  readonly plainHttp?: boolean
  /** Whether an address is one of this machine where nobody else can listen. */
  isLocal?(address: string): boolean
  /** Milliseconds until the first byte, and again until the end of the handshake. */
  readonly handshakeMs?: number
  /** Milliseconds in which an honest newcomer is done with that: whoever waits for longer makes room first. */
  readonly patienceMs?: number
  /** TLS handshakes of one household. */
  readonly handshakes?: Budget
}

/**
 * A handshake costs about 1.1 ms: as with requests that prove nothing, nobody gets more than a tenth of one core for
 * long.
 */
const defaultHandshakes: Budget = { most: 1000, perSecond: 100 }

/** A few round trips of the slowest line, and as long again. */
const defaultPatienceMs = 2000

/** First byte of a TLS record that opens a handshake (RFC 8446, 5.1). */
const handshakeRecord = 0x16

/** What somebody reads who speaks plain HTTP from another machine; the rest of the request is not looked at. */
const refusal = ({ localAddress = '', localPort = 0 }: Socket): string => {
  const address = localAddress.replace(/^::ffff:/i, '')
  const failure = new MeshError('tlsRequired', { url: `https://${asUrlHost(address)}:${localPort}` })
  const body = JSON.stringify({ error: failure.toReport() })
  return [
    `HTTP/1.1 ${failure.status} Upgrade Required`,
    'upgrade: TLS/1.2, HTTP/1.1',
    'connection: upgrade, close',
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    '',
    body,
  ].join('\r\n')
}

/** Sorts connections by their first byte, and hands those that may ask to the HTTP server. */
class Doorway {
  /** Connections that have not come as far as a request. */
  readonly #waiting: PendingConnections<Socket>
  readonly #options: SharedPortOptions
  readonly #budgets: Budgets
  readonly #pass: (socket: Socket) => void

  constructor(options: SharedPortOptions, pass: (socket: Socket) => void) {
    this.#options = options
    this.#waiting = new PendingConnections({
      strangers: limits.waitingConnections,
      known: 0, // nobody is known before it said a word
      ofHousehold: limits.waitingConnectionsOfAddress,
      patienceMs: options.patienceMs ?? defaultPatienceMs,
    })
    this.#budgets = new Budgets(options.handshakes ?? defaultHandshakes)
    this.#pass = pass
  }

  get #handshakeMs(): number {
    return this.#options.handshakeMs ?? limits.controlPlaneTlsMs
  }

  meet(socket: Socket): void {
    const giveUp = (): void => void socket.destroy()
    socket.on('error', giveUp)
    const newcomer = { household: householdOf(socket.remoteAddress ?? ''), isKnown: false }
    const loser = this.#waiting.enter(socket, newcomer, performance.now())
    loser?.destroy()
    if (loser === socket) return
    const late = setTimeout(giveUp, this.#handshakeMs)
    socket.once('end', giveUp) // sockets of HTTP may be open on one side, those that never got so far need not
    socket.once('close', () => {
      clearTimeout(late)
      this.#waiting.leave(socket)
    })
    socket.once('data', (first: Buffer) => {
      clearTimeout(late)
      socket.removeListener('end', giveUp)
      this.#sort(socket, first)
    })
  }

  /** Ends all that wait. */
  close(): void {
    for (const socket of this.#waiting.all()) socket.destroy()
  }

  #sort(socket: Socket, first: Buffer): void {
    const { plainHttp = false, isLocal = isLoopback } = this.#options
    socket.pause()
    const isTls = first[0] === handshakeRecord
    if (!isTls && !plainHttp && !isLocal(socket.remoteAddress ?? '')) return refuse(socket)
    socket.unshift(first)
    if (isTls) return this.#encrypt(socket)
    this.#waiting.leave(socket)
    this.#pass(socket)
    process.nextTick(() => socket.resume()) // or nothing more of a request would come
  }

  #encrypt(socket: Socket): void {
    const { identities } = this.#options
    const [household, now] = [householdOf(socket.remoteAddress ?? ''), Date.now()]
    if (this.#budgets.waitMs(household, 1, now) > 0) return void socket.destroy()
    this.#budgets.charge(household, 1, now)
    const secure = new TLSSocket(socket, {
      isServer: true,
      secureContext: identities.contextFor(undefined), // for those that name no server
      SNICallback: (name, done) => done(null, identities.contextFor(name)),
    })
    const giveUp = (): void => void secure.destroy()
    const late = setTimeout(giveUp, this.#handshakeMs)
    secure.on('error', giveUp)
    secure.once('end', giveUp)
    secure.once('close', () => clearTimeout(late))
    secure.once('secure', () => {
      clearTimeout(late)
      secure.removeListener('end', giveUp)
      this.#waiting.leave(socket)
      this.#pass(secure)
    })
  }
}

const refuse = (socket: Socket): void => {
  socket.end(refusal(socket))
  setTimeout(() => socket.destroy(), limits.lingerMs).unref()
}

/**
 * The HTTP server of the port, for the requests of both kinds of connections. Closing all connections ends those
 * without a request too.
 */
export const createSharedPort = (handler: RequestListener, http: ServerOptions, options: SharedPortOptions): Server => {
  const server = createServer(http, handler)
  const [serve] = server.listeners('connection')
  server.removeAllListeners('connection')
  const doorway = new Doorway(options, (socket) => void Reflect.apply(serve, server, [socket]))
  server.on('connection', (socket: Socket) => doorway.meet(socket))
  const closeAll = server.closeAllConnections.bind(server)
  server.closeAllConnections = () => {
    doorway.close()
    closeAll()
  }
  return server
}
