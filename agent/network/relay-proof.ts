/**
 * Membership, shown to relays that serve some pools only: before a slot is reserved, and before a peer is dialled
 * through one. A relay that serves everyone does not speak the protocol and is shown nothing.
 */
import type { Connection, Libp2p } from '@libp2p/interface'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { limits } from '../../shared/limits.ts'
import type { RelayAnswer } from '../../shared/wire/envelope.ts'
import { isOtherVersion } from '../../shared/wire/other-version.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { relayForms } from '../../shared/wire/relay-forms.ts'
import { readTyped, sendTyped } from '../../shared/wire/typed-message.ts'
import { onStream, openStream } from './open-stream.ts'

/** What this device can show of one pool. */
export interface Credential {
  readonly poolId: string
  /** 64 hex digits. */
  readonly rootPublicKey: string
  readonly certificate: string
  /** The newest revocation list that is held. */
  readonly list?: { readonly number: number; readonly text: string }
}

interface Shown {
  /** What was shown: certificates and lists change. */
  readonly key: string
  readonly done: Promise<void>
}

const keyOf = (credentials: readonly Credential[]): string =>
  credentials.map(({ certificate, list }) => `${certificate}/${list?.number ?? 0}`).join()

export class RelayProofs {
  readonly #read: () => readonly Credential[]
  readonly #logger: Logger
  readonly #shown = new WeakMap<Connection, Shown>()

  constructor(libp2p: Libp2p, credentials: () => readonly Credential[], logger: Logger) {
    this.#read = credentials
    this.#logger = logger
    // a relay of somebody else, by which a peer is dialled: libp2p connects to it by itself
    libp2p.addEventListener('peer:identify', ({ detail: { connection, protocols: spoken, peerId } }) => {
      if (connection.direction === 'outbound' && spoken.includes(protocols.relayProof))
        this.show(connection).catch((error: unknown) =>
          logger.debug({ relay: peerId.toString(), problem: problemOf(error) }, 'relay: not let in'),
        )
    })
  }

  /** A damaged file of one pool must not end the agent. */
  get #credentials(): readonly Credential[] {
    try {
      return this.#read()
    } catch (error) {
      this.#logger.warn({ problem: problemOf(error) }, 'relay: the memberships cannot be read')
      return []
    }
  }

  /** Changes when something new is to be shown. */
  get key(): string {
    return keyOf(this.#credentials)
  }

  /**
   * Shows what was not shown yet on this connection; resolves at once when there is nothing new.
   * @throws MeshError `relayPoolNotServed` (none of our pools) | `noPool` | what the relay says against a certificate
   */
  show(connection: Connection): Promise<void> {
    const credentials = this.#credentials
    const key = keyOf(credentials)
    const before = this.#shown.get(connection)
    if (before?.key === key) return before.done
    const done = showAll(connection, credentials)
    this.#shown.set(connection, { key, done })
    done.catch(() => {
      if (this.#shown.get(connection)?.done === done) this.#shown.delete(connection)
    })
    return done
  }
}

const showAll = async (connection: Connection, credentials: readonly Credential[]): Promise<void> => {
  const problems: MeshError[] = []
  for (const credential of credentials) {
    const problem = await showOne(connection, credential)
    if (problem === 'everyone') return
    if (problem) problems.push(problem)
  }
  if (credentials.length === 0 && (await isRestricted(connection))) throw new MeshError('noPool')
  // a certificate that does not hold says more than a pool that is not served
  if (credentials.length > 0 && problems.length === credentials.length)
    throw problems.find(({ code }) => code !== 'relayPoolNotServed') ?? problems[0]
}

/** It does not ask for a proof. */
const servesEveryone = (error: unknown): boolean =>
  error instanceof MeshError && error.code === 'protocolVersion' && !isOtherVersion(error)

const isRestricted = async (connection: Connection): Promise<boolean> => {
  try {
    const stream = await openStream(connection, protocols.relayProof, AbortSignal.timeout(limits.gateMs))
    stream.abort(new MeshError('noPool'))
    return true
  } catch (error) {
    if (servesEveryone(error)) return false
    throw error
  }
}

/**
 * Shows one certificate, and the list of removals where the relay holds an older one.
 * @throws Error when the connection fails
 */
const prove = (connection: Connection, credential: Credential): Promise<RelayAnswer> => {
  const { poolId, rootPublicKey, certificate, list } = credential
  const signal = AbortSignal.timeout(limits.gateMs)
  return onStream(connection, protocols.relayProof, signal, async (stream) => {
    sendTyped(stream, relayForms.proof, { poolId, rootPublicKey, certificate, revocations: list?.number ?? 0 })
    const answer = await readTyped(stream, relayForms.answer, signal)
    if (answer.ok && list && (answer.revocations ?? 0) < list.number)
      sendTyped(stream, relayForms.list, { poolId, list: list.text })
    return answer
  })
}

/** @returns why the relay refused; `everyone` when it asks for nothing. @throws Error when the connection fails */
const showOne = async (connection: Connection, credential: Credential): Promise<MeshError | 'everyone' | undefined> => {
  try {
    const { ok, error } = await prove(connection, credential)
    if (ok) return undefined
    if (error === undefined)
      return new MeshError('gateRefused', { peer: connection.remotePeer.toString(), problem: 'no reason given' })
    const refusal = MeshError.fromReport(error)
    return refusal.code === 'relayPoolNotServed'
      ? new MeshError('relayPoolNotServed', { relay: connection.remoteAddr.toString(), poolId: credential.poolId })
      : refusal
  } catch (error) {
    if (servesEveryone(error)) return 'everyone'
    throw error
  }
}
