/** Typed client of the control plane, built from the route table. Signs every request, or shows the API key of an app. */
import type { createConnection } from 'node:net'
import { MeshError, problemOf } from '../errors.ts'
import { type KeyPair, toHex } from '../identity/keys.ts'
import { type ControlPlaneId, shortId } from '../ids.ts'
import { signRequest } from '../identity/request-signature.ts'
import { Contact } from './contact.ts'
import { isTlsUrl } from '../control-plane-url.ts'
import { errorOf, failureOf } from './failures.ts'
import { headers } from '../headers.ts'
import {
  type AnswerOf,
  type BodyOf,
  type ParamsOf,
  type QueryOf,
  type RouteName,
  type RouteRecord,
  routes,
} from './routes.ts'
import { otherVersion, versionIn } from '../wire/other-version.ts'
import { requests } from '../wire/protocols.ts'

/** Who sends: a device, or an app. */
export type Identity =
  | {
      readonly key: KeyPair
      /** Membership certificate to send for a pool, if there is one. */
      readonly certificateOf: (poolId: string) => string | undefined
    }
  | { readonly apiKey: string }

export type ClientOptions = Identity & {
  /** Base address, for example `http://127.0.0.1:8080`. */
  readonly url: string
  /** The key that the control plane must have. Absent for a device: whoever answers first; for an app: TLS as programs do it. */
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

interface RawCall {
  readonly params?: Readonly<Record<string, unknown>>
  readonly query?: Readonly<Record<string, unknown>>
  readonly body?: unknown
}

/** Path and query of a call, holes filled. */
export const pathOf = (route: RouteRecord, call: RawCall): string => {
  const path = route.path.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(String(call.params?.[name])))
  const query = Object.entries(call.query ?? {}).filter(([, value]) => value !== undefined)
  return query.length === 0
    ? path
    : `${path}?${new URLSearchParams(Object.fromEntries(query.map(([name, value]) => [name, String(value)]))).toString()}`
}

export interface Client {
  readonly url: string
  /** @throws MeshError with the code the control plane answered, or `controlPlaneUnreachable`, `controlPlaneProtocol` */
  call<Name extends RouteName>(name: Name, call: CallArguments<Name>): Promise<AnswerOf<Name>>
  /** The raw answer, for the event stream. */
  open(
    name: RouteName,
    call: RawCall & { readonly headers?: Record<string, string>; readonly signal?: AbortSignal },
  ): Promise<Response>
  /** The key of the control plane, where it was given or met. */
  readonly controlPlaneKey: ControlPlaneId | undefined
  /**
   * The key of the control plane: the one that was given, else that of whoever answers.
   * @throws MeshError `controlPlaneUnreachable` | `controlPlaneProtocol`
   */
  controlPlane(): Promise<ControlPlaneId>
  /** Headers of the WebSocket's opening request, its address, and how to connect where that matters. @throws as `controlPlane` */
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

export const createClient = (options: ClientOptions): Client => {
  const now = options.now ?? Date.now
  const base = options.url.replace(/\/+$/, '')
  const contact = new Contact({ ...options, url: base })

  /** Apps sign nothing, and where they were given no key to go by they trust whom programs trust. */
  const isAnonymous = (route: RouteRecord): boolean =>
    'apiKey' in options || (route.access === 'open' && !isTlsUrl(base))

  const signed = async (
    route: RouteRecord,
    call: RawCall,
    { signal, ...line }: { readonly path: string; readonly body: string; readonly signal?: AbortSignal },
  ): Promise<Record<string, string>> => {
    const recipient = isAnonymous(route) ? undefined : await contact.meet(signal)
    if (route.access === 'open') return {}
    if ('apiKey' in options) return { [headers.key]: `Bearer ${options.apiKey}` }
    if (recipient === undefined) throw new Error('a signed request names its control plane')
    // who is no more than a device has no use for the certificate, and needs none to say or ask where a pool is served
    const poolId = route.access === 'device' ? undefined : call.params?.poolId
    const certificate = typeof poolId === 'string' ? options.certificateOf(poolId) : undefined
    return {
      ...signRequest(options.key, { method: route.method, ...line, recipient }, now()),
      ...(certificate === undefined ? {} : { [headers.certificate]: certificate }),
    }
  }

  const open: Client['open'] = async (name, call) => {
    const route: RouteRecord = routes[name]
    const path = pathOf(route, call)
    const body = call.body === undefined ? '' : JSON.stringify(call.body)
    const timeout = AbortSignal.timeout(options.timeoutMs ?? 15_000)
    const untilAnswer = new AbortController()
    const giveUp = (): void => untilAnswer.abort(timeout.reason)
    timeout.addEventListener('abort', giveUp)
    const signal = call.signal ? AbortSignal.any([call.signal, untilAnswer.signal]) : untilAnswer.signal
    try {
      const proof = await signed(route, call, { path, body, signal })
      const answer = await contact.fetch(base + path, {
        method: route.method,
        headers: { ...proof, ...(body === '' ? {} : { 'content-type': 'application/json' }), ...call.headers },
        body: body === '' ? undefined : body,
        redirect: 'error', // a control plane sends nobody elsewhere; who does is none
        signal,
      })
      if (!answer.ok)
        throw await refusalOf(answer, base, route.access === 'open' || 'apiKey' in options ? undefined : options.key)
      return answer
    } catch (error) {
      if (call.signal?.aborted) throw error
      throw failureOf(base, error)
    } finally {
      timeout.removeEventListener('abort', giveUp)
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
      const proof = await signed(route, {}, { path: route.path, body: '' })
      const { createConnection: connect } = contact
      return {
        url: base.replace(/^http/, 'ws') + route.path,
        headers: proof,
        ...(connect ? { createConnection: connect } : {}),
      }
    },
  }
}

/** Why it was refused. @param key that signed the request; absent: none did */
const refusalOf = async (answer: Response, base: string, key: KeyPair | undefined): Promise<MeshError> => {
  const failure = await errorOf(answer, base)
  return (key === undefined ? undefined : spokenThere(answer, failure, key)) ?? failure
}

/** Why a signed request was refused, where the control plane speaks another version; before there were versions in answers, it did not know the signature. */
const spokenThere = (answer: Response, failure: MeshError, key: KeyPair): MeshError | undefined => {
  if (failure.code === 'protocolVersion') return undefined
  const text = answer.headers.get(headers.protocol)
  const version =
    text === null ? (failure.code === 'signatureInvalid' ? requests.before.at(-1) : undefined) : versionIn(text)
  if (version === undefined || version === requests.version) return undefined
  return otherVersion(
    requests,
    { name: `device ${shortId(toHex(key.publicKey))}`, version: requests.version },
    { name: 'the control plane', version },
  )
}
