/** The HTTP application: every route of the table, validated, authorised, documented at /docs. */
import { createServer, type Server, type ServerOptions } from 'node:http'
import type { Readable } from 'node:stream'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import websocket, { type WebSocket } from '@fastify/websocket'
import fastify, { type FastifyHttpOptions, type FastifyInstance, type FastifyRequest } from 'fastify'
import { headers } from '../shared/headers.ts'
import { type RouteName, type RouteRecord, routes } from '../shared/api/routes.ts'
import { MeshError } from '../shared/errors.ts'
import type { Logger } from '../shared/log.ts'
import { requests } from '../shared/wire/protocols.ts'
import { limits } from '../shared/limits.ts'
import { admitRequest, type Caller, checkSignedBody } from './routes/access.ts'
import { readBody } from './routes/body.ts'
import { creditRoutes } from './routes/credit-routes.ts'
import { deviceRoutes } from './routes/device-routes.ts'
import { documentation, schemaOf } from './routes/documentation.ts'
import { answerError } from './routes/failures.ts'
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
import { statementRoutes } from './routes/statement-routes.ts'
import { compileValidator } from './routes/validation.ts'
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

/** One function for each route that answers at once. */
const handlersOf = (services: Services, port?: SharedPortOptions): Handlers => ({
  controlPlane: () => ({
    controlPlaneKey: services.key.id,
    ...(port ? { certificate: port.identities.authority } : {}),
  }),
  ...deviceRoutes(services),
  ...poolRoutes(services),
  ...statementRoutes(services),
  ...joinRoutes(services),
  ...ringRoutes(services),
  ...lockRoutes(services),
  ...jobRoutes(services),
  ...creditRoutes(services),
  ...keyRoutes(services),
})

/** Serves every route of the table. */
const addRoutes = (scope: FastifyInstance, services: Services, handlers: Handlers): void => {
  for (const [name, route] of Object.entries(routes) as [RouteName, RouteRecord][]) {
    const access = { ...route, registers: name === 'registerDevice' }
    const common = {
      method: route.method,
      url: route.path,
      schema: schemaOf(route),
      bodyLimit: route.bodyBytes ?? limits.bodyBytes,
      // before a body is read and before validation: a stranger learns nothing about the schema, and costs no check of
      // it
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
  const handlers = handlersOf(services, port)
  // the plugins above must be ready before routes are added
  await app.register(async (scope) => addRoutes(scope, services, handlers))
  services.connections.watch(app.server)
  return app
}
