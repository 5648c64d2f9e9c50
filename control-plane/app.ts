/** The HTTP application: every route of the table, validated, authorised, documented at /docs. */
import { createServer, type Server, type ServerOptions } from 'node:http'
import type { Readable } from 'node:stream'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import websocket, { type WebSocket } from '@fastify/websocket'
import fastify, { type FastifyHttpOptions, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { Value } from 'typebox/value'
import { headers } from '../shared/headers.ts'
import { type AnswerOf, type RouteName, type RouteRecord, routes } from '../shared/api/routes.ts'
import { ErrorAnswer } from '../shared/schema/common.ts'
import { MeshError } from '../shared/errors.ts'
import type { Logger } from '../shared/log.ts'
import { version } from '../shared/version.ts'
import { requests } from '../shared/wire/protocols.ts'
import { limits } from '../shared/limits.ts'
import { admitRequest, type Caller, checkSignedBody } from './routes/access.ts'
import { dropRest, readBody } from './routes/body.ts'
import { creditRoutes } from './routes/credit-routes.ts'
import { deviceRoutes } from './routes/device-routes.ts'
import { addFrontDoor } from './routes/front-door.ts'
import type { AnswerRoute, Handlers } from './routes/handler.ts'
import { jobRoutes } from './routes/job-routes.ts'
import { joinRoutes } from './routes/join-routes.ts'
import { keyRoutes } from './routes/key-routes.ts'
import { lockRoutes } from './routes/lock-routes.ts'
import { streamJob } from './routes/job-stream.ts'
import { refuseExpectations, refuseUnreadable } from './routes/refused-early.ts'
import { OlderDevices } from './routes/older-devices.ts'
import { poolRoutes } from './routes/pool-routes.ts'
import { ringRoutes } from './routes/ring-routes.ts'
import type { Services } from './service/services.ts'
import { createSharedPort, type SharedPortOptions } from './tls/shared-port.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** SHA-256 of the body as it came: what the sender signed. */
    bodyHash?: string
    /** Who sent it, once that is checked. */
    caller?: Caller
  }
}

const compileValidator = ({
  schema,
  httpPart,
}: {
  schema: unknown
  httpPart?: string
}): ((value: unknown) => { value: unknown } | { error: Error }) => {
  const check = Compile(schema as TSchema)
  return (value) => {
    // numbers in a query arrive as text
    const content = httpPart === 'querystring' ? Value.Convert(schema as TSchema, value) : value
    if (check.Check(content)) return { value: content }
    const [first] = check.Errors(content)
    const place = `${httpPart ?? 'request'}${first?.instancePath ?? ''}`
    return { error: new MeshError('requestInvalid', { problem: `${place} ${first?.message ?? 'is malformed'}` }) }
  }
}

interface Noted {
  readonly logger: Logger
  readonly background: Services['background']
  readonly olderDevices: OlderDevices
}

const answerError = (
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { logger, background, olderDevices }: Noted,
): void => {
  background.note(error)
  if (error instanceof MeshError && error.code === 'protocolVersion') olderDevices.note(error, request.ip)
  dropRest(request, reply)
  const status =
    error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500
  const failure =
    error instanceof MeshError || status >= 500
      ? MeshError.from(error)
      : new MeshError('requestInvalid', { problem: (error as Error).message })
  if (failure.code === 'internal')
    logger.error({ err: error, method: request.method, path: request.url }, failure.message)
  // whoever is refused for now is told for how long, as HTTP clients know it
  if ('retryAfterSeconds' in failure.fields) void reply.header('retry-after', failure.fields.retryAfterSeconds)
  void reply.status(failure === error || status >= 500 ? failure.status : status).send({ error: failure.toReport() })
}

const securityOf: Readonly<Record<RouteRecord['access'], readonly Record<string, string[]>[]>> = {
  open: [],
  device: [{ signature: [] }],
  member: [{ signature: [] }],
  admin: [{ signature: [] }],
  'member-or-key': [{ signature: [] }, { key: [] }],
  key: [{ key: [] }],
}

const schemaOf = ({ summary, access, params, query, body, answer, stream }: RouteRecord): object => ({
  summary: stream ? `${summary} (${stream})` : summary,
  tags: [access],
  security: securityOf[access],
  ...(params ? { params } : {}),
  ...(query ? { querystring: query } : {}),
  ...(body ? { body } : {}),
  response: { ...(answer ? { 200: answer } : {}), '4xx': ErrorAnswer, '5xx': ErrorAnswer },
})

const documentation = {
  openapi: {
    info: { title: 'Mesh control plane', version },
    components: {
      securitySchemes: {
        signature: {
          type: 'apiKey' as const,
          in: 'header' as const,
          name: 'mesh-signature',
          description:
            'Ed25519 signature of the device with mesh-device, mesh-time, mesh-nonce, mesh-body and mesh-protocol; member routes also want mesh-certificate',
        },
        key: { type: 'http' as const, scheme: 'bearer', description: 'API key of mesh api-key-create, for one pool' },
      },
    },
  },
}

/** The largest body at the slowest rate that is allowed; what is slower than the rate is cut before. */
const longestRequestMs = limits.headersMs + limits.bodyMs + (1000 * limits.requestBytes) / limits.bodyBytesPerSecond

const httpOptions: ServerOptions = {
  requestTimeout: longestRequestMs,
  headersTimeout: limits.headersMs,
  keepAliveTimeout: limits.keepAliveMs,
  connectionsCheckingInterval: 1000,
}

const acceptSocket = (
  { sockets, connections }: Services,
  socket: WebSocket,
  { caller, ip, raw }: FastifyRequest,
): void => {
  const deviceId = caller?.deviceId ?? ''
  sockets.accept(deviceId, socket, { address: ip, onMember: () => connections.proved(raw.socket, deviceId) })
}

/** Builds the application; nothing listens yet. @param port TLS on its port; absent: plain HTTP for everybody */
export const buildApp = async (
  services: Services,
  logger: Logger,
  port?: SharedPortOptions,
): Promise<FastifyInstance> => {
  const noted = { logger, background: services.background, olderDevices: new OlderDevices(logger, services.now) }
  const options: FastifyHttpOptions<Server> = {
    logger: false,
    bodyLimit: limits.bodyBytes,
    forceCloseConnections: true,
    clientErrorHandler: refuseUnreadable,
    frameworkErrors: (error, request, reply) => answerError(error, request, reply, noted),
    serverFactory: (handler) =>
      port ? createSharedPort(handler, httpOptions, port) : createServer(httpOptions, handler),
  }
  const app = fastify(options)
  app.setValidatorCompiler(compileValidator)
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
  app.setErrorHandler((error, request, reply) => answerError(error, request, reply, noted))
  refuseExpectations(app)
  app.addHook('onRequest', async (_request, reply) => void reply.header(headers.protocol, requests.version))
  addFrontDoor(app)
  app.removeAllContentTypeParsers() // a body that we do not hash must not get in
  app.addContentTypeParser('application/json', (request: FastifyRequest, payload: Readable) =>
    readBody(request, payload, checkSignedBody),
  )
  await app.register(swagger, documentation)
  await app.register(swaggerUi, { routePrefix: '/docs' })
  await app.register(websocket, { options: { maxPayload: limits.helloBytes, perMessageDeflate: false } })

  const controlPlane = (): AnswerOf<'controlPlane'> => ({
    controlPlaneKey: services.key.id,
    ...(port ? { certificate: port.identities.authority } : {}),
  })
  const handlers: Handlers = {
    controlPlane,
    ...deviceRoutes(services),
    ...poolRoutes(services),
    ...joinRoutes(services),
    ...ringRoutes(services),
    ...lockRoutes(services),
    ...jobRoutes(services),
    ...creditRoutes(services),
    ...keyRoutes(services),
  }
  // the plugins above must be ready before routes are added
  await app.register(async (scope) => {
    for (const [name, route] of Object.entries(routes) as [RouteName, RouteRecord][]) {
      const access = { ...route, registers: name === 'registerDevice' }
      const common = {
        method: route.method,
        url: route.path,
        schema: schemaOf(route),
        bodyLimit: route.bodyBytes ?? limits.bodyBytes,
        // before a body is read and before validation: a stranger learns nothing about the schema, and costs no check of it
        onRequest: async (request: FastifyRequest): Promise<void> => {
          request.caller = admitRequest(request, access, services)
        },
        // also where no body came to be read
        preValidation: async (request: FastifyRequest): Promise<void> => checkSignedBody(request),
      }
      if (route.stream === 'websocket') {
        scope.route({
          ...common,
          method: 'GET',
          handler: () => {
            throw new MeshError('requestInvalid', { problem: 'this route wants a WebSocket' })
          },
          wsHandler: (socket, request) => acceptSocket(services, socket, request),
        })
      } else if (route.stream === 'sse')
        scope.route({ ...common, handler: (request, reply) => streamJob(services, request, reply) })
      else {
        scope.route({
          ...common,
          handler: async ({ caller, params, query, body }) =>
            (handlers[name as AnswerRoute] as (call: object) => unknown)({ caller, params, query, body }),
        })
      }
    }
  })
  services.connections.watch(app.server)
  return app
}
