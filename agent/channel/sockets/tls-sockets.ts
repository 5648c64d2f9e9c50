/**
 * Encrypted sockets between the ranks of one epoch: TLS 1.3, both sides show a certificate made for this epoch, and
 * each accepts exactly the certificates whose fingerprints the other ranks announced over the streams of libp2p, where
 * identity and membership were proven before (as WebRTC pins DTLS certificates, RFC 8827). Knows nothing of libp2p, so
 * that it costs a compute process no memory.
 */
import { X509Certificate } from 'node:crypto'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as after } from 'node:timers/promises'
import { connect, createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import { formatDuration } from '../../../shared/words.ts'

/** PEM, of a key that is used for nothing else. */
export interface LinkCertificate {
  readonly cert: string
  readonly key: string
}

/** Another rank. */
export interface LinkPeer {
  readonly rank: number
  /** SHA-256 of its certificate, as `X509Certificate.fingerprint256` writes it. */
  readonly fingerprint: string
  /** Where to dial it; absent: it dials us. */
  readonly dial?: { readonly host: string; readonly port: number }
}

export const fingerprintOf = ({ cert }: LinkCertificate): string => new X509Certificate(cert).fingerprint256

/** Milliseconds of silence in a handshake; who takes longer is cut off. */
const handshakeMs = 3000
/** Connections held before it is known whose they are. */
const heldGuests = 64
/** Milliseconds until a dialer that was turned away comes again. */
const againMs = 50

/**
 * First byte of the listener: the dialer is one of those it waits for. Until then the dialer cannot know, since in TLS
 * 1.3 its handshake is over before the listener saw its certificate.
 */
const welcome = Uint8Array.of(1)

const contextOf = ({ cert, key }: LinkCertificate): SecureContext =>
  createSecureContext({ cert, key, minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' })

/** Undefined for a peer without a certificate. */
const certificateOf = (socket: TLSSocket): string | undefined => socket.getPeerCertificate().fingerprint256

/** The other side closed the connection without a reason that would hold for the next one too. */
class TurnedAway extends Error {}

interface DialOptions {
  readonly context: SecureContext
  readonly to: { readonly host: string; readonly port: number }
  readonly fingerprint: string
  /** Ends the socket, also one that is linked. */
  readonly signal: AbortSignal
}

/**
 * Settles when the listener said welcome.
 * @throws TurnedAway | Error when nobody answers, or another one than expected
 */
const dialOnce = ({ context, to, fingerprint, signal }: DialOptions): Promise<TLSSocket> =>
  new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const socket = connect({
      ...to,
      secureContext: context,
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    })
    let isThere = false
    signal.addEventListener('abort', () => socket.destroy(signal.reason as Error))
    socket.on('error', (error: NodeJS.ErrnoException) =>
      reject(isThere && error.code === 'ECONNRESET' ? new TurnedAway(error.message) : error),
    ) // for good: an error without a listener would end the process
    socket.on('close', () => reject(new TurnedAway('the other side closed the connection')))
    socket.on('connect', () => {
      isThere = true
    })
    socket.setTimeout(handshakeMs, () => socket.destroy(new Error(`no answer within ${formatDuration(handshakeMs)}`)))
    const read = (): void => {
      if (socket.read(welcome.length) === null) return
      socket.off('readable', read)
      resolve(socket)
    }
    socket.on('secureConnect', () => {
      socket.setTimeout(0) // the listener may not know yet whom it waits for
      if (certificateOf(socket) !== fingerprint)
        return void socket.destroy(new Error('it shows a certificate that was not announced'))
      socket.on('readable', read)
    })
  })

/**
 * Comes again until the listener has room and knows us.
 * @throws Error when nobody answers, or another one than expected; the reason of the signal
 */
const dialPeer = async (options: DialOptions): Promise<TLSSocket> => {
  for (;;) {
    try {
      return await dialOnce(options)
    } catch (error) {
      if (!(error instanceof TurnedAway) || options.signal.aborted) throw error
      await after(againMs, undefined, { signal: options.signal })
    }
  }
}

export class LinkListener {
  readonly #context: SecureContext
  readonly #server: Server
  /** Nobody's yet, the oldest first: in the handshake, or not asked for so far. With their fingerprints. */
  readonly #guests = new Map<TLSSocket, string | undefined>()
  /** Peers that dial us, by fingerprint. */
  readonly #awaited = new Map<string, (socket: TLSSocket) => void>()

  private constructor(certificate: LinkCertificate) {
    this.#context = contextOf(certificate)
    this.#server = createServer((socket) => this.#receive(socket))
  }

  /**
   * Listens at a free port.
   * @param host of the interface, or `::` for all
   * @param instead where to listen when there is no such interface
   */
  static async listen(
    certificate: LinkCertificate,
    host: string,
    instead = host === '::' ? '0.0.0.0' : undefined,
  ): Promise<LinkListener> {
    const listener = new LinkListener(certificate)
    const listen = (where: string): Promise<void> =>
      new Promise((resolve, reject) => {
        listener.#server.once('error', reject)
        listener.#server.listen(0, where, () => {
          listener.#server.off('error', reject)
          listener.#server.on('error', () => {}) // out of files: one link fails, not the process
          resolve()
        })
      })
    await listen(host).catch((error: NodeJS.ErrnoException) => {
      if (instead === undefined) throw error
      return listen(instead) // no IPv6 here
    })
    return listener
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /**
   * Sockets to all peers, by rank; from then on nobody else is let in.
   * @throws Error when one of them is not there within `ms`, or another one is there instead
   */
  async connect(peers: readonly LinkPeer[], ms: number): Promise<Map<number, TLSSocket>> {
    const links = new Map<number, TLSSocket>()
    const stop = new AbortController()
    const missing = (): string => peers.flatMap(({ rank }) => (links.has(rank) ? [] : [rank])).join(', ')
    const timer = setTimeout(
      () => stop.abort(new Error(`not all ranks were linked within ${formatDuration(ms)}: ${missing()} missing`)),
      ms,
    )
    try {
      await Promise.all(
        peers.map(async ({ rank, fingerprint, dial }) => {
          const socket = await (dial
            ? dialPeer({ context: this.#context, to: dial, fingerprint, signal: stop.signal })
            : this.#arrival(fingerprint, stop.signal))
          links.set(rank, socket)
        }),
      )
      return links
    } catch (error) {
      stop.abort(error)
      throw stop.signal.reason
    } finally {
      clearTimeout(timer)
      this.close()
    }
  }

  /** Stops listening; sockets that were given away stay. */
  close(): void {
    this.#server.close()
    for (const socket of this.#guests.keys()) socket.destroy()
    this.#awaited.clear()
  }

  #receive(connection: Socket): void {
    const socket = new TLSSocket(connection, {
      isServer: true,
      secureContext: this.#context,
      requestCert: true,
      rejectUnauthorized: false,
    })
    socket.on('error', () => {}) // a stranger's affair
    socket.on('close', () => this.#guests.delete(socket))
    socket.setTimeout(handshakeMs, () => socket.destroy())
    socket.once('secure', () => this.#arrive(socket))
    this.#guests.set(socket, undefined)
    const [oldest] = this.#guests.keys()
    if (this.#guests.size > heldGuests) oldest.destroy()
  }

  #arrive(socket: TLSSocket): void {
    const fingerprint = certificateOf(socket)
    if (fingerprint === undefined) return void socket.destroy()
    socket.setTimeout(0)
    const give = this.#awaited.get(fingerprint)
    if (give) give(socket)
    else this.#guests.set(socket, fingerprint)
  }

  #arrival(fingerprint: string, signal: AbortSignal): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const give = (socket: TLSSocket): void => {
        this.#awaited.delete(fingerprint)
        this.#guests.delete(socket)
        signal.addEventListener('abort', () => socket.destroy())
        socket.write(welcome)
        resolve(socket)
      }
      signal.addEventListener('abort', () => reject(signal.reason as Error))
      const there = [...this.#guests].find(([socket, shown]) => shown === fingerprint && !socket.destroyed)
      if (there) give(there[0])
      else this.#awaited.set(fingerprint, give)
    })
  }
}
