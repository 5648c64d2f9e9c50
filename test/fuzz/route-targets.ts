/** Every HTTP route, by everybody, with parameters, bodies and headers that hold, nearly hold, and do not. */
import fc from 'fast-check'
import { Agent, type IncomingMessage, request as openRequest } from 'node:http'
import type { TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { headers as names } from '../../shared/headers.ts'
import { type RouteName, type RouteRecord, routes } from '../../shared/api/routes.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import { signRequest } from '../../shared/identity/request-signature.ts'
import { ErrorAnswer } from '../../shared/schema/common.ts'
import type { Arena, Sender } from './arena.ts'
import { arbitraryOf } from './arbitrary-of-schema.ts'
import { damage, damagedBytes, hostile } from './edits.ts'
import { anyTarget, type Target } from './run-cases.ts'

interface HeaderEdit {
  readonly name: string
  /** Absent: the header is left out. */
  readonly value?: string
}

interface RequestCase {
  readonly name: RouteName
  readonly sender: string
  readonly path: string
  readonly body?: Buffer
  /** The signature is of another request. */
  readonly isForged: boolean
  readonly edits: readonly HeaderEdit[]
}

/** Who may do most at a route comes most often: refusals by access are the matter of another test. */
const bestSenders: Readonly<Record<RouteRecord['access'], readonly string[]>> = {
  open: ['nobody'],
  device: ['stranger', 'member'],
  member: ['member', 'admin'],
  admin: ['admin'],
  'member-or-key': ['member', 'app'],
  key: ['app'],
}

const headerNames = [
  ...Object.values(names),
  'content-type',
  'accept',
  'last-event-id',
  'expect',
  'origin',
  'cookie',
  'range',
  'if-none-match',
  'upgrade',
  'x-forwarded-for',
  'accept-encoding',
]
/** Node's client sends no others. */
const headerValue = fc.oneof(
  fc.constantFrom(
    '',
    '0',
    '-1',
    '9'.repeat(15),
    'f'.repeat(64),
    'Bearer ',
    'text/html',
    'application/json; charset=x',
    '*/*',
    '\u00ff',
  ),
  fc.stringMatching(/^[\t -~\u0080-\u00ff]{0,200}$/),
)
const headerEdit: fc.Arbitrary<HeaderEdit> = fc.record({
  name: fc.constantFrom(...headerNames),
  value: fc.option(headerValue, { nil: undefined }),
})

const objectOf = (schema: TSchema | undefined, words: readonly string[]): fc.Arbitrary<Record<string, unknown>> => {
  if (schema === undefined) return fc.constant({})
  return fc
    .oneof({ weight: 4, arbitrary: arbitraryOf(schema, words) }, { weight: 1, arbitrary: hostile(schema, words) })
    .map((value) => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}))
}

/** Holes that lead to what is there, all of them or none. */
const whereabouts = (known: Arena['params']): fc.Arbitrary<Record<string, string>> =>
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record(
        Object.fromEntries(Object.entries(known).map(([name, values]) => [name, fc.constantFrom(...values)])),
      ),
    },
    { weight: 1, arbitrary: fc.constant({}) },
  )

const escaped = (value: unknown, isRaw: boolean): string => {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
  if (isRaw) return text.replaceAll(/[^!-~]/g, '%').slice(0, 2000)
  return encodeURIComponent(text.toWellFormed()).slice(0, 6000)
}

const pathOf = (
  path: string,
  params: Readonly<Record<string, unknown>>,
  query: Readonly<Record<string, unknown>>,
  isRaw: boolean,
): string => {
  const filled = path.replaceAll(/:(\w+)/g, (_, name: string) => escaped(params[name] ?? 'x', isRaw))
  const search = Object.entries(query)
    .map(([name, value]) => `${escaped(name, isRaw)}=${escaped(value, isRaw)}`)
    .join('&')
  return search === '' ? filled : `${filled}?${search}`
}

/** @param good a body that is taken; absent: the schema makes such ones */
const bodyOf = (
  schema: TSchema | undefined,
  words: readonly string[],
  good: unknown,
): fc.Arbitrary<Buffer | undefined> => {
  if (schema === undefined)
    return fc.oneof(
      { weight: 9, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)) },
    )
  const like =
    good === undefined
      ? []
      : [
          { weight: 1, arbitrary: fc.constant(good) },
          { weight: 1, arbitrary: damage(fc.constant(good)) },
        ]
  const json = fc
    .oneof({ weight: 2, arbitrary: hostile(schema, words) }, ...like)
    .map((value) => Buffer.from(JSON.stringify(value) ?? ''))
  return fc.oneof({ weight: 6, arbitrary: json }, { weight: 1, arbitrary: damagedBytes(json) })
}

/** The cases of one route. A route is added to the table, and is tried. */
const casesOf = (name: RouteName, { senders, words, params: known, bodies }: Arena): fc.Arbitrary<RequestCase> => {
  const { path, access, params, query, body }: RouteRecord = routes[name]
  return fc.record({
    name: fc.constant(name),
    sender: fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...bestSenders[access]) },
      { weight: 1, arbitrary: fc.constantFrom(...Object.keys(senders)) },
    ),
    path: fc
      .tuple(objectOf(params, words), whereabouts(known), objectOf(query, words), fc.nat(9))
      .map(([filled, real, asked, raw]) => pathOf(path, { ...filled, ...real }, asked, raw === 0)),
    body: bodyOf(body, words, bodies[name]),
    isForged: fc.nat(19).map((pick) => pick === 0),
    edits: fc.oneof(
      { weight: 4, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.array(headerEdit, { maxLength: 3 }) },
    ),
  })
}

const headersOf = (
  sender: Sender,
  signed: {
    readonly method: string
    readonly path: string
    readonly body: Uint8Array
    readonly recipient: ControlPlaneId
  },
): Record<string, string> => {
  if ('key' in sender) return sender.key === '' ? {} : { [names.key]: `Bearer ${sender.key}` }
  const { device, certificate } = sender
  return {
    ...signRequest(device.key, signed, Date.now()),
    ...(certificate === undefined ? {} : { [names.certificate]: certificate }),
  }
}

interface Answer {
  readonly status: number
  /** Absent: a stream of events, of which the head is enough. */
  readonly text?: string
}

/** Milliseconds after which a request counts as never answered. */
const answerMs = 20_000
/** The server may close a connection that it refused; what was sent on it is then sent again. */
const isReset = (error: Error): boolean => 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE')

const read = (answer: IncomingMessage): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const status = answer.statusCode ?? 0
    if (answer.headers['content-type']?.startsWith('text/event-stream')) {
      answer.destroy()
      return resolve({ status })
    }
    const parts: Buffer[] = []
    answer
      .on('data', (part: Buffer) => parts.push(part))
      .on('error', reject)
      .on('end', () => resolve({ status, text: Buffer.concat(parts).toString() }))
  })

const send = (
  url: string,
  agent: Agent,
  {
    method,
    path,
    headers,
    body,
  }: {
    readonly method: string
    readonly path: string
    readonly headers: Readonly<Record<string, string>>
    readonly body?: Buffer
  },
): Promise<Answer | 'closed'> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url)
    const length = body === undefined ? {} : { 'content-length': String(body.length) }
    const request = openRequest(
      { agent, hostname, port, method, path, headers: { ...headers, ...length }, timeout: answerMs },
      (answer) => void read(answer).then(resolve, reject),
    )
    request.on('timeout', () => request.destroy(new Error(`no answer within ${answerMs} ms`)))
    request.on('upgrade', (_answer, socket) => {
      socket.destroy()
      resolve({ status: 101 })
    })
    request.on('error', (error) => (isReset(error) ? resolve('closed') : reject(error)))
    request.end(body)
  })

const valueOf = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** Above 4xx nothing; whatever is answered is what the table says. @returns `taken`, or the code of the refusal */
const checked = (name: RouteName, { status, text }: Answer): string => {
  const { answer: schema }: RouteRecord = routes[name]
  if (status >= 500) throw new Error(`status ${status}: ${text}`)
  if (text === undefined || status === 101) return 'taken'
  const value = valueOf(text)
  if (status >= 400) {
    if (!Value.Check(ErrorAnswer, value)) throw new Error(`status ${status} without an error: ${text.slice(0, 300)}`)
    return value.error.code
  }
  if (schema && !Value.Check(schema, value))
    throw new Error(
      `the answer is not what the table says: ${JSON.stringify(Value.Errors(schema, value)[0])}: ${text.slice(0, 300)}`,
    )
  return 'taken'
}

export const routeTargets = (arena: Arena): Target[] => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const run = async ({ name, sender, path, body, isForged, edits }: RequestCase): Promise<string> => {
    await arena.prepare[name]?.()
    const { method }: RouteRecord = routes[name]
    const signed = { method, path: isForged ? `${path}x` : path, body: body ?? Buffer.alloc(0) }
    const headers: Record<string, string> = {
      ...headersOf(arena.senders[sender], { ...signed, recipient: arena.controlPlaneId }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    }
    for (const { name: header, value } of edits) {
      if (value === undefined) delete headers[header]
      else headers[header] = value
    }
    const answer = await send(arena.url, agent, { method, path, headers, body })
    arena.checkLog()
    return answer === 'closed' ? answer : checked(name, answer)
  }
  return (Object.keys(routes) as RouteName[]).map((name) =>
    anyTarget({ name: `route ${name}`, cases: casesOf(name, arena), run }),
  )
}
