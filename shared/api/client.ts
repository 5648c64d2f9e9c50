/** Typed client of the control plane, built from the route table. Signs every request, or shows the API key of an app. */
import { MeshError, problemOf } from '../errors.ts'
import type { KeyPair } from '../identity/keys.ts'
import { signRequest } from '../identity/request-signature.ts'
import { type AnswerOf, type BodyOf, headers, type ParamsOf, type QueryOf, type RouteName, type RouteRecord, routes } from './routes.ts'

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
  readonly fetch?: typeof fetch
  readonly now?: () => number
  /** Milliseconds until an answer must have begun. */
  readonly timeoutMs?: number
}

export type CallArguments<Name extends RouteName> = (ParamsOf<Name> extends undefined ? { params?: undefined } : { params: ParamsOf<Name> }) &
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
  return query.length === 0 ? path : `${path}?${new URLSearchParams(Object.fromEntries(query.map(([name, value]) => [name, String(value)]))).toString()}`
}

export interface Client {
  readonly url: string
  /** @throws MeshError with the code the control plane answered, or `controlPlaneUnreachable`, `controlPlaneProtocol` */
  call<Name extends RouteName>(name: Name, call: CallArguments<Name>): Promise<AnswerOf<Name>>
  /** The raw answer, for the event stream. */
  open(name: RouteName, call: RawCall & { readonly headers?: Record<string, string>; readonly signal?: AbortSignal }): Promise<Response>
  /** Headers of the WebSocket's opening request, and its address. */
  socket(): { readonly url: string; readonly headers: Record<string, string> }
}

/** Where to look for a control plane that does not answer: here, or on the machine that hosts the group. */
const whereToLook = (url: string): { readonly look?: string } => {
  const host = URL.canParse(url) ? new URL(url).hostname : 'localhost'
  if (host === 'localhost' || host === '[::1]' || host.startsWith('127.')) return {}
  return { look: `mesh up must run on the machine at ${host}, and this one must reach it; where it has another address now, name that with --control-plane URL` }
}

/** Nobody answers at `url`. */
export const unreachable = (url: string, problem: string, cause?: unknown): MeshError =>
  new MeshError('controlPlaneUnreachable', { url, problem, ...whereToLook(url) }, cause)

export const createClient = (options: ClientOptions): Client => {
  const now = options.now ?? Date.now
  const send = options.fetch ?? fetch
  const base = options.url.replace(/\/+$/, '')

  const signed = (route: RouteRecord, call: RawCall, path: string, body: string): Record<string, string> => {
    if (route.access === 'open') return {}
    if ('apiKey' in options) return { [headers.key]: `Bearer ${options.apiKey}` }
    const poolId = call.params?.poolId
    const certificate = typeof poolId === 'string' ? options.certificateOf(poolId) : undefined
    return {
      ...signRequest(options.key, { method: route.method, path, body }, now()),
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
      const answer = await send(base + path, {
        method: route.method,
        headers: { ...signed(route, call, path, body), ...(body === '' ? {} : { 'content-type': 'application/json' }), ...call.headers },
        body: body === '' ? undefined : body,
        signal,
      })
      if (!answer.ok) throw await errorOf(answer, base)
      return answer
    } catch (error) {
      if (error instanceof MeshError || call.signal?.aborted) throw error
      throw unreachable(base, problemOf(error), error)
    } finally {
      timeout.removeEventListener('abort', giveUp)
    }
  }

  return {
    url: base,
    open,
    call: async (name, call) => {
      const answer = await open(name, call as RawCall)
      try {
        return (await answer.json()) as AnswerOf<typeof name>
      } catch (error) {
        throw new MeshError('controlPlaneProtocol', { problem: `not JSON (${problemOf(error)})` }, error)
      }
    },
    socket: () => ({
      url: base.replace(/^http/, 'ws') + routes.agentSocket.path,
      headers: signed(routes.agentSocket, {}, routes.agentSocket.path, ''),
    }),
  }
}

const errorOf = async (answer: Response, url: string): Promise<MeshError> => {
  const text = await answer.text().catch(() => '')
  try {
    const { error } = JSON.parse(text) as { error?: { code?: unknown; message?: unknown; fields?: Record<string, string | number> } }
    if (typeof error?.code === 'string' && typeof error.message === 'string') return MeshError.fromReport({ code: error.code, message: error.message, fields: error.fields })
  } catch {
    // not ours: fall through
  }
  return new MeshError('controlPlaneProtocol', { problem: `HTTP ${answer.status} from ${url}: ${text.slice(0, 200)}` })
}
