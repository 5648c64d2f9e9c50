/**
 * libp2p's TLS (specs/tls), with the encryption on the TCP socket itself. `@libp2p/tls` runs it on a stream in
 * JavaScript above the socket: each record crosses into JavaScript once more, which halves the bandwidth and adds a
 * fifth to a small round trip. The handshake, the certificates and their checks are those of `@libp2p/tls`, so both
 * understand each other; what is no fresh TCP socket (a relayed connection) is left to it altogether.
 */
import { Socket } from 'node:net'
import { connect, TLSSocket } from 'node:tls'
import { generateKeyPair } from '@libp2p/crypto/keys'
import {
  type ConnectionEncrypter,
  type Logger,
  type MessageStream,
  type PeerId,
  type SecureConnectionOptions,
  type SecuredConnection,
  serviceCapabilities,
  type StreamMuxerFactory,
} from '@libp2p/interface'
import { type TLSComponents, tls } from '@libp2p/tls'
import type { LinkCertificate } from '../channel/sockets/tls-sockets.ts'

/** What this file needs of the package beyond its front door. */
interface Utilities {
  generateCertificate(
    key: unknown,
    options?: { readonly signal?: AbortSignal },
  ): Promise<{ readonly cert: string; readonly key: string }>
  /** @throws Error when the certificate is no libp2p certificate, or of another peer than `expected` */
  verifyPeerCertificate(raw: Uint8Array, expected?: PeerId, log?: Logger): Promise<PeerId>
  toMessageStream(connection: MessageStream, socket: TLSSocket): MessageStream
}

const loadUtilities = async (): Promise<Utilities | undefined> => {
  try {
    const found = (await import(new URL('./utils.js', import.meta.resolve('@libp2p/tls')).href)) as Partial<Utilities>
    return found.generateCertificate && found.verifyPeerCertificate && found.toMessageStream
      ? (found as Utilities)
      : undefined
  } catch {
    return undefined // another layout of the package: its own, slower way still works
  }
}

const utilities = await loadUtilities()

/**
 * A certificate of a fresh key, for sockets whose ends know each other's fingerprints (`sockets/tls-sockets.ts`).
 * @returns `undefined` where it cannot be made
 */
export const makeLinkCertificate = async (): Promise<LinkCertificate | undefined> =>
  utilities?.generateCertificate(await generateKeyPair('Ed25519'))

/**
 * The socket under a connection on which nothing waits to be read or written; otherwise bytes would be lost or out of
 * order.
 */
const freshSocketOf = (connection: MessageStream): Socket | undefined => {
  const { socket, readBuffer, writeBuffer } = connection as {
    socket?: unknown
    readBuffer?: { byteLength: number }
    writeBuffer?: { byteLength: number }
  }
  if (!(socket instanceof Socket) || readBuffer?.byteLength !== 0 || writeBuffer?.byteLength !== 0) return undefined
  return socket.readableLength === 0 && socket.writableLength === 0 && !socket.connecting && !socket.destroyed
    ? socket
    : undefined
}

/** Bytes of a yamux header: a frame of that length has no payload. */
const muxerHeaderBytes = 12
/** Milliseconds that a frame without payload may wait for one with payload. */
const controlDelayMs = 2

/**
 * Header and payload of a muxer frame leave in one write, hence in one TLS record and one packet. yamux answers every
 * payload with an update of the window; that answer waits a little for a payload to travel with, for on its own it
 * would wake the peer once more for every message.
 */
const inOneWrite = (stream: MessageStream, socket: TLSSocket): MessageStream => {
  const writer = stream as MessageStream & { sendData(data: { readonly byteLength: number }): unknown }
  const sendData = writer.sendData.bind(writer)
  let timer: NodeJS.Timeout | undefined
  const flush = (): void => {
    clearTimeout(timer)
    timer = undefined
    socket.uncork()
  }
  writer.sendData = (data) => {
    if (timer === undefined) socket.cork()
    const result = sendData(data)
    if (data.byteLength > muxerHeaderBytes) flush()
    else timer ??= setTimeout(flush, controlDelayMs)
    return result
  }
  socket.once('close', () => clearTimeout(timer))
  return stream
}

/**
 * Ends the TLS socket where libp2p would reset the TCP socket below it, and not inside a callback of either: Node 24
 * reads on from a TLS socket whose ground is gone, and the whole process crashes.
 */
const resetFromOutside = (connection: MessageStream, secured: TLSSocket): void => {
  const transport = connection as MessageStream & { sendReset(error: Error): void }
  transport.sendReset = () => void setImmediate(() => secured.destroy())
}

interface Handshake {
  readonly connection: MessageStream
  readonly socket: Socket
  readonly isServer: boolean
  readonly options: SecureConnectionOptions | undefined
}

class SocketTls implements ConnectionEncrypter {
  readonly protocol: string
  readonly #components: TLSComponents
  readonly #stock: ConnectionEncrypter
  /**
   * One for all connections, as the specification allows: made while a peer waits, its first bytes would overtake us.
   */
  #certificate: ReturnType<Utilities['generateCertificate']> | undefined
  readonly [Symbol.toStringTag] = 'mesh/socket-tls'
  readonly [serviceCapabilities] = ['@libp2p/connection-encryption']

  constructor(components: TLSComponents) {
    this.#components = components
    this.#stock = tls()(components)
    this.protocol = this.#stock.protocol
    this.#certificate = utilities?.generateCertificate(components.privateKey)
    this.#certificate?.catch(() => {}) // tried again, and told, when a connection needs it
  }

  async secureInbound(connection: MessageStream, options?: SecureConnectionOptions): Promise<SecuredConnection> {
    return (await this.#secure(connection, true, options)) ?? this.#stock.secureInbound(connection, options)
  }

  async secureOutbound(connection: MessageStream, options?: SecureConnectionOptions): Promise<SecuredConnection> {
    return (await this.#secure(connection, false, options)) ?? this.#stock.secureOutbound(connection, options)
  }

  async #secure(
    connection: MessageStream,
    isServer: boolean,
    options?: SecureConnectionOptions,
  ): Promise<SecuredConnection | undefined> {
    const certificate = await this.#certificate?.catch(() => undefined)
    const socket = freshSocketOf(connection)
    return certificate && socket && this.#handshake(certificate, { connection, socket, isServer, options })
  }

  #handshake(
    certificate: { readonly cert: string; readonly key: string },
    { connection, socket, isServer, options }: Handshake,
  ): Promise<SecuredConnection> {
    const { verifyPeerCertificate, toMessageStream } = utilities as Utilities
    const muxers: Map<string, StreamMuxerFactory> =
      options?.skipStreamMuxerNegotiation === true ? new Map() : this.#components.upgrader.getStreamMuxers()
    const protocols = [...muxers.keys(), 'libp2p']
    const both = {
      ...certificate,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      rejectUnauthorized: false,
      ALPNProtocols: protocols,
    } as const
    const secured = isServer
      ? new TLSSocket(socket, {
          ...both,
          isServer,
          requestCert: true,
          ALPNCallback: ({ protocols: offered }) => offered.find((name) => protocols.includes(name)),
        })
      : connect({ ...both, socket })
    resetFromOutside(connection, secured)
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        options?.signal?.removeEventListener('abort', onAbort)
        secured.off('close', onClose)
      }
      const fail = (error: Error): void => {
        settle()
        secured.destroy()
        connection.abort(error)
        reject(error)
      }
      const onAbort = (): void => fail(new Error('the TLS handshake took too long'))
      const onClose = (): void => fail(new Error('the peer closed the connection during the TLS handshake'))
      options?.signal?.addEventListener('abort', onAbort)
      secured.on('error', fail) // for good: an error without a listener would end the process
      secured.on('close', onClose)
      secured.once('secure', () => {
        verifyPeerCertificate(secured.getPeerCertificate().raw, options?.remotePeer, connection.log).then(
          (remotePeer) => {
            settle()
            const chosen = secured.alpnProtocol
            resolve({
              remotePeer,
              connection: inOneWrite(toMessageStream(connection, secured), secured),
              streamMuxer: typeof chosen === 'string' ? muxers.get(chosen) : undefined,
            })
          },
          fail,
        )
      })
    })
  }
}

/** For `connectionEncrypters`, in place of `tls()`. */
export const socketTls =
  () =>
  (components: TLSComponents): ConnectionEncrypter =>
    new SocketTls(components)
