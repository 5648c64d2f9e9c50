/**
 * Typed client of the control plane, built from the route table. Signs every request, or shows the API key of an app.
 */
import type { createConnection } from 'node:net'
import { MeshError, problemOf } from '../errors.ts'
import type { ControlPlaneId } from '../ids.ts'
import { Contact } from './contact.ts'
import { failureOf, refusalOf } from './failures.ts'
import { type Identity, proofOf } from './proof.ts'
import { pathOf, type RawCall } from './raw-call.ts'
import {
  type AnswerOf,
  type BodyOf,
  type ParamsOf,
  type QueryOf,
  type RouteName,
  type RouteRecord,
  routes,
} from './routes.ts'

export type ClientOptions = Identity & {
  /** Base address, for example `http://127.0.0.1:8080`. */
  readonly url: string
  /**
   * The key that the control plane must have. Absent for a device: whoever answers first; for an app: TLS as programs
   * do it.
   */
  readonly controlPlaneKey?: ControlPlaneId
  /** Told, where no key was given, whose key it is from now on. */
  onFirstContact?(key: ControlPlaneId, url: string): void
  readonly fetch?: typeof fetch
  readonly now?: () => number
  /** Milliseconds until an answer must have begun. */
  readonly timeoutMs?: number
}

export type CallArguments<Name extends RouteName> = (ParamsOf<Name> extends undefined
  ? { params?: undefined }
  : { params: ParamsOf<Name> }) &
  (BodyOf<Name> extends undefined ? { body?: undefined } : { body: BodyOf<Name> }) &
  (QueryOf<Name> extends undefined ? { query?: undefined } : { query?: QueryOf<Name> })

interface OpenCall extends RawCall {
  readonly headers?: Record<string, string>
  readonly signal?: AbortSignal
}

export interface Client {
  readonly url: string
  /**
   * @throws MeshError with the code the control plane answered, or `controlPlaneUnreachable`, `controlPlaneProtocol`
   */
  call<Name extends RouteName>(name: Name, call: CallArguments<Name>): Promise<AnswerOf<Name>>
  /** The raw answer, for the event stream. */
  open(name: RouteName, call: OpenCall): Promise<Response>
  /** The key of the control plane, where it was given or met. */
  readonly controlPlaneKey: ControlPlaneId | undefined
  /**
   * The key of the control plane: the one that was given, else that of whoever answers.
   * @throws MeshError `controlPlaneUnreachable` | `controlPlaneProtocol`
   */
  controlPlane(): Promise<ControlPlaneId>
  /**
   * Headers of the WebSocket's opening request, its address, and how to connect where that matters.
   * @throws as `controlPlane`
   */
  socket(): Promise<SocketPlan>
}

export interface SocketPlan {
  readonly url: string
  readonly headers: Record<string, string>
  /** In the manner of `http.request`; for TLS to the one control plane. */
  readonly createConnection?: typeof createConnection
}

const jsonOf = async (answer: Response): Promise<unknown> => {
  try {
    return await answer.json()
  } catch (error) {
    throw new MeshError('controlPlaneProtocol', { problem: `not JSON (${problemOf(error)})` }, error)
  }
}

/**
 * Runs with a signal that aborts when the caller's does, or when the time is over before `work` has its value; what
 * comes later, as the body of an answer, has all the time it needs.
 */
const untilAnswered = async <T>(
  ms: number,
  given: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> => {
  const timeout = AbortSignal.timeout(ms)
  const late = new AbortController()
  const giveUp = (): void => late.abort(timeout.reason)
  timeout.addEventListener('abort', giveUp)
  try {
    return await work(given ? AbortSignal.any([given, late.signal]) : late.signal)
  } finally {
    timeout.removeEventListener('abort', giveUp)
  }
}

export const createClient = (options: ClientOptions): Client => {
  const { now = Date.now, timeoutMs = 15_000 } = options
  const base = options.url.replace(/\/+$/, '')
  const contact = new Contact({ ...options, url: base })
  const proof = { identity: options, base, contact, now }

  const send = async (route: RouteRecord, call: OpenCall, signal: AbortSignal): Promise<Response> => {
    const path = pathOf(route, call)
    const text = call.body === undefined ? '' : JSON.stringify(call.body)
    const shown = await proofOf(proof, route, { ...call, path, text, signal })
    const answer = await contact.fetch(base + path, {
      method: route.method,
      headers: { ...shown, ...(text === '' ? {} : { 'content-type': 'application/json' }), ...call.headers },
      body: text === '' ? undefined : text,
      redirect: 'error', // a control plane sends nobody elsewhere; who does is none
      signal,
    })
    if (answer.ok) return answer
    throw await refusalOf(answer, base, route.access === 'open' || 'apiKey' in options ? undefined : options.key)
  }

  const open: Client['open'] = async (name, call) => {
    try {
      return await untilAnswered(timeoutMs, call.signal, (signal) => send(routes[name], call, signal))
    } catch (error) {
      if (call.signal?.aborted) throw error
      throw failureOf(base, error)
    }
  }

  return {
    url: base,
    open,
    get controlPlaneKey() {
      return contact.key
    },
    controlPlane: () => contact.meet(),
    call: async (name, call) => (await jsonOf(await open(name, call as RawCall))) as AnswerOf<typeof name>,
    socket: async () => {
      const route = routes.agentSocket
      const shown = await proofOf(proof, route, { path: route.path, text: '' })
      const { createConnection: connect } = contact
      return {
        url: base.replace(/^http/, 'ws') + route.path,
        headers: shown,
        ...(connect ? { createConnection: connect } : {}),
      }
    },
  }
}
