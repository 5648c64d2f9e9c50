/**
 * TLS to a control plane that is known by its key. Names, dates and authorities of its certificate mean nothing to a
 * device: it compares the SHA-256 of the public key with the one it knows, before a byte of a request is sent. That the
 * other side holds the key, and not only a copy of the certificate, TLS itself has shown by then.
 */
import { connect, type TLSSocket } from 'node:tls'
import { MeshError, problemOf } from '../errors.ts'
import { controlPlaneIdIn } from '../identity/control-plane-key.ts'
import { deviceServerName } from '../identity/control-plane-name.ts'
import { type ControlPlaneId, shortId } from '../ids.ts'
import { hostIn } from '../url-host.ts'
import { formatDuration } from '../words.ts'

/** Milliseconds that connection and handshake may take. */
const handshakeMs = 10_000
/** Milliseconds after which an idle connection is asked whether it lives. */
const keepAliveMs = 60_000

type Opened = (error: Error | null, socket: TLSSocket | null) => void

const addressOf = (url: string): { readonly host: string; readonly port: number } => {
  const { port } = new URL(url)
  return { host: hostIn(url), port: port === '' ? 443 : Number(port) }
}

/** @throws MeshError `controlPlaneChanged` */
export const checkKey = (url: string, known: ControlPlaneId, got: ControlPlaneId): void => {
  if (got !== known) throw new MeshError('controlPlaneChanged', { url, known: shortId(known), got: shortId(got) })
}

/** What a failed handshake means to people. */
const meaningOf = (error: Error): Error =>
  'code' in error && error.code === 'ERR_SSL_WRONG_VERSION_NUMBER'
    ? new Error('it speaks no TLS: it runs an older version of mesh, or is something else', { cause: error })
    : error

/**
 * Connects and shows who answers to `accept`, which throws to refuse; nothing is sent or read before.
 * @param opened told once: the socket, or why there is none
 */
const openTls = (url: string, accept: (got: ControlPlaneId) => void, opened: Opened): TLSSocket => {
  let isOver = false
  const end: Opened = (error, result) => {
    if (isOver) return
    isOver = true
    clearTimeout(late)
    if (error) socket.destroy()
    opened(error, result)
  }
  const socket = connect({
    ...addressOf(url),
    servername: deviceServerName,
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.3',
    rejectUnauthorized: false, // by names and dates; the key decides, below
  })
  const late = setTimeout(() => end(new Error(`no TLS within ${formatDuration(handshakeMs)}`), null), handshakeMs)
  socket.setNoDelay(true).setKeepAlive(true, keepAliveMs)
  socket.once('secureConnect', () => {
    try {
      const certificate = socket.getPeerX509Certificate()
      if (certificate === undefined) throw new Error('it shows no certificate')
      accept(controlPlaneIdIn(certificate))
      end(null, socket)
    } catch (error) {
      end(error instanceof Error ? error : new Error(problemOf(error)), null)
    }
  })
  socket.once('error', (error) => end(meaningOf(error), null))
  socket.once('close', () => end(new Error('it ended the connection'), null))
  return socket
}

/**
 * A connection to the control plane at `url` that has proven `key`.
 * @param opened told `controlPlaneChanged` for another key
 */
export const connectPinned = (url: string, key: ControlPlaneId, opened: Opened): TLSSocket =>
  openTls(url, (got) => checkKey(url, key, got), opened)

/** The key that whoever answers at an https address proves to have. @throws Error why nobody does */
export const provenKey = (url: string, signal?: AbortSignal): Promise<ControlPlaneId> =>
  new Promise((resolve, reject) => {
    let key: ControlPlaneId | undefined
    const abort = (): void => {
      socket.destroy()
      reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'))
    }
    const socket = openTls(
      url,
      (got) => {
        key = got
      },
      (error) => {
        signal?.removeEventListener('abort', abort)
        socket.destroy()
        if (key === undefined) reject(error ?? new Error('it shows no certificate'))
        else resolve(key)
      },
    )
    if (signal?.aborted) abort()
    else signal?.addEventListener('abort', abort, { once: true })
  })

const fetches = new Map<ControlPlaneId, typeof fetch>()

/**
 * `fetch` for https addresses that goes to the control plane with that key and to nobody else; connections are kept.
 */
export const pinnedFetch = (key: ControlPlaneId): typeof fetch => {
  const known = fetches.get(key)
  if (known) return known
  const loaded = import('undici').then(({ Agent, fetch: send }) => {
    const agent = new Agent({
      connect: ({ protocol, host = '' }, opened) => {
        if (protocol !== 'https:') opened(new Error(`${protocol} is not for control planes of other machines`), null)
        else connectPinned(`https://${host}`, key, opened as Opened)
      },
    })
    return { agent, send }
  })
  const pinned = async (input: unknown, init: object | undefined): Promise<unknown> => {
    const { agent, send } = await loaded
    return send(input as string, { redirect: 'error', ...init, dispatcher: agent })
  }
  fetches.set(key, pinned as typeof fetch)
  return pinned as typeof fetch
}
