/**
 * Encrypted sockets between the ranks of one epoch: TLS 1.3, both sides show a certificate made for this epoch, and each
 * accepts exactly the certificates whose fingerprints the other ranks announced over the streams of libp2p, where
 * identity and membership were proven before (as WebRTC pins DTLS certificates, RFC 8827). Knows nothing of libp2p, so
 * that it costs a compute process no memory.
 */
import { X509Certificate } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Server, type TLSSocket } from 'node:tls'

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

/** Milliseconds of one handshake; who takes longer is cut off. */
const handshakeMs = 3000
/** Sockets held before it is known whose they are. */
const heldSockets = 64

const secure = ({ cert, key }: LinkCertificate) => ({ cert, key, minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3', rejectUnauthorized: false } as const)

/** Undefined until the handshake is over. */
const peerOf = (socket: TLSSocket): string | undefined => socket.getPeerCertificate().fingerprint256

/** @throws Error when nobody answers, or another one than expected */
const dialPeer = (certificate: LinkCertificate, { host, port }: { readonly host: string; readonly port: number }, fingerprint: string): Promise<TLSSocket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ ...secure(certificate), host, port, checkServerIdentity: () => undefined })
    socket.on('error', reject) // for good: an error without a listener would end the process
    socket.setTimeout(handshakeMs, () => socket.destroy(new Error(`no answer within ${handshakeMs / 1000} s`)))
    socket.on('close', () => reject(new Error('the other side closed the connection')))
    socket.on('secureConnect', () => {
      socket.setTimeout(0)
      if (peerOf(socket) === fingerprint) resolve(socket)
      else socket.destroy(new Error('it shows a certificate that was not announced'))
    })
  })

export class LinkListener {
  readonly #certificate: LinkCertificate
  readonly #server: Server
  /** By fingerprint: dialled us and are waited for, or not yet. */
  readonly #arrived = new Map<string, TLSSocket>()
  readonly #awaited = new Map<string, (socket: TLSSocket) => void>()

  private constructor(certificate: LinkCertificate) {
    this.#certificate = certificate
    this.#server = createServer({ ...secure(certificate), requestCert: true, handshakeTimeout: handshakeMs })
    this.#server.on('tlsClientError', () => {}) // a stranger's affair
    this.#server.on('secureConnection', (socket) => this.#arrive(socket))
  }

  /** Listens at a free port. @param host of the interface, or `::` for all */
  static async listen(certificate: LinkCertificate, host: string): Promise<LinkListener> {
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
      if (host !== '::') throw error
      return listen('0.0.0.0') // no IPv6 here
    })
    return listener
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /**
   * Sockets to all peers, by rank; from then on nobody else is let in.
   * @throws Error when one of them is not there within `ms`
   */
  async connect(peers: readonly LinkPeer[], ms: number): Promise<Map<number, TLSSocket>> {
    const links = new Map<number, TLSSocket>()
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(new Error(`not all ranks were linked within ${ms / 1000} s`)), ms)
    const all = Promise.all(peers.map(async ({ rank, fingerprint, dial }) => {
      const socket = dial ? await dialPeer(this.#certificate, dial, fingerprint) : await this.#arrival(fingerprint)
      links.set(rank, socket)
    }))
    all.catch(() => {})
    try {
      await Promise.race([all, late.promise])
      return links
    } catch (error) {
      for (const socket of links.values()) socket.destroy()
      throw error
    } finally {
      clearTimeout(timer)
      this.close()
    }
  }

  /** Stops listening; sockets that were given away stay. */
  close(): void {
    this.#server.close()
    for (const socket of this.#arrived.values()) socket.destroy()
    this.#arrived.clear()
    this.#awaited.clear()
  }

  #arrive(socket: TLSSocket): void {
    socket.on('error', () => {})
    const fingerprint = peerOf(socket)
    if (fingerprint === undefined) return void socket.destroy()
    const resolve = this.#awaited.get(fingerprint)
    if (resolve) {
      this.#awaited.delete(fingerprint)
      return resolve(socket)
    }
    if (!this.#server.listening || this.#arrived.size >= heldSockets || this.#arrived.has(fingerprint)) return void socket.destroy()
    this.#arrived.set(fingerprint, socket)
    socket.once('close', () => {
      if (this.#arrived.get(fingerprint) === socket) this.#arrived.delete(fingerprint)
    })
  }

  #arrival(fingerprint: string): Promise<TLSSocket> {
    const there = this.#arrived.get(fingerprint)
    this.#arrived.delete(fingerprint)
    return there ? Promise.resolve(there) : new Promise((resolve) => this.#awaited.set(fingerprint, resolve))
  }
}
