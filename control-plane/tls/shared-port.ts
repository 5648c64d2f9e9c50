/**
 * One port for TLS and plain HTTP: the first byte tells which it is. Plain HTTP is for programs of this machine, where
 * nobody else listens; anybody else is told in one line where TLS is, at the cost of nothing but that line.
 */
import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/wire/limits.ts'
import { householdOf } from '../../shared/household.ts'
import type { TlsIdentities } from './tls-identities.ts'

export interface SharedPortOptions {
  readonly identities: TlsIdentities
  /** Serves plain HTTP to everybody. */
  readonly plainHttp?: boolean
  /** Whether an address is one of this machine where nobody else can listen. */
  isLocal?(address: string): boolean
  /** Milliseconds until the first byte, and again until the end of the handshake. */
  readonly handshakeMs?: number
}

/** First byte of a TLS record that opens a handshake (RFC 8446, 5.1). */
const handshakeRecord = 0x16

/** The addresses 127.0.0.0/8 and ::1: what comes from there was sent on this machine. */
export const isLoopback = (address: string): boolean => /^(?:::ffff:)?127\./i.test(address) || address === '::1'

/** What somebody reads who speaks plain HTTP from another machine; the rest of the request is not looked at. */
const refusal = ({ localAddress = '', localPort = 0 }: Socket): string => {
  const address = localAddress.replace(/^::ffff:/i, '')
  const failure = new MeshError('tlsRequired', { url: `https://${address.includes(':') ? `[${address}]` : address}:${localPort}` })
  const body = JSON.stringify({ error: failure.toReport() })
  return [
    `HTTP/1.1 ${failure.status} Upgrade Required`, 'upgrade: TLS/1.2, HTTP/1.1', 'connection: upgrade, close',
    'content-type: application/json; charset=utf-8', `content-length: ${Buffer.byteLength(body)}`, '', body,
  ].join('\r\n')
}

/** Connections that have not come as far as a request: how many there are, by where they come from. */
class Waiting {
  readonly #sockets = new Map<Socket, string>()
  readonly #counts = new Map<string, number>()

  /** False where one sender, or all together, have too many: the newest goes, those that came before are served. */
  add(socket: Socket): boolean {
    const household = householdOf(socket.remoteAddress ?? '')
    const count = this.#counts.get(household) ?? 0
    if (count >= limits.waitingConnectionsOfAddress || this.#sockets.size >= limits.waitingConnections) return false
    this.#sockets.set(socket, household)
    this.#counts.set(household, count + 1)
    return true
  }

  delete(socket: Socket): void {
    const household = this.#sockets.get(socket)
    if (household === undefined) return
    this.#sockets.delete(socket)
    const count = (this.#counts.get(household) ?? 1) - 1
    if (count === 0) this.#counts.delete(household)
    else this.#counts.set(household, count)
  }

  destroyAll(): void {
    for (const socket of this.#sockets.keys()) socket.destroy()
  }
}

/** The HTTP server of the port, for the requests of both kinds of connections. Closing all connections ends those without a request too. */
export const createSharedPort = (handler: RequestListener, http: ServerOptions, options: SharedPortOptions): Server => {
  const { identities, plainHttp = false, isLocal = isLoopback, handshakeMs = limits.controlPlaneTlsMs } = options
  const server = createServer(http, handler)
  const waiting = new Waiting()
  const [serve] = server.listeners('connection')
  server.removeAllListeners('connection')
  const pass = (socket: Socket): void => void Reflect.apply(serve, server, [socket])

  const refuse = (socket: Socket): void => {
    socket.end(refusal(socket))
    setTimeout(() => socket.destroy(), limits.lingerMs).unref()
  }
  const encrypt = (socket: Socket): void => {
    const secure = new TLSSocket(socket, {
      isServer: true,
      secureContext: identities.contextFor(undefined), // for those that name no server
      SNICallback: (name, done) => done(null, identities.contextFor(name)),
    })
    const late = setTimeout(() => secure.destroy(), handshakeMs)
    secure.on('error', () => secure.destroy())
    secure.once('close', () => clearTimeout(late))
    secure.once('secure', () => {
      clearTimeout(late)
      waiting.delete(socket)
      pass(secure)
    })
  }
  const sort = (socket: Socket, first: Buffer): void => {
    socket.pause()
    const isTls = first[0] === handshakeRecord
    if (!isTls && !plainHttp && !isLocal(socket.remoteAddress ?? '')) return refuse(socket)
    socket.unshift(first)
    if (isTls) return encrypt(socket)
    waiting.delete(socket)
    pass(socket)
    process.nextTick(() => socket.resume()) // or nothing more of a request would come
  }

  server.on('connection', (socket: Socket) => {
    socket.on('error', () => socket.destroy())
    if (!waiting.add(socket)) return socket.destroy()
    const late = setTimeout(() => socket.destroy(), handshakeMs)
    socket.once('close', () => {
      clearTimeout(late)
      waiting.delete(socket)
    })
    socket.once('data', (first: Buffer) => {
      clearTimeout(late)
      sort(socket, first)
    })
  })
  const closeAll = server.closeAllConnections.bind(server)
  server.closeAllConnections = () => {
    waiting.destroyAll()
    closeAll()
  }
  return server
}
