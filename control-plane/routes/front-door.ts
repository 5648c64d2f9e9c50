/** What somebody meets who tries an address that is no route: the way to those that are. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { MeshError } from '../../shared/errors.ts'
import { version } from '../../shared/version.ts'
import { dropRest } from './body.ts'

const links = { docs: '/docs', openapi: '/docs/json', health: '/health', ready: '/ready' } as const

const page = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Mesh control plane</title>
<style>body{font:1rem/1.5 system-ui;max-width:40rem;margin:3rem auto;padding:0 1rem}</style>
<h1>Mesh control plane</h1>
<p>It runs (version ${version}). Devices of the group talk to it; people use the command <code>mesh</code>:</p>
<pre>mesh join INVITE               let a device in (mesh pool-invite prints the line)
mesh inference "Once upon a time"
mesh status</pre>
<p>Programs: <a href="${links.docs}">every route</a>, <a href="${links.openapi}">OpenAPI</a>, <a href="${links.ready}">readiness</a>.
An app gets its key from a member: <code>mesh api-key-create --name app</code>.</p>
</html>
`

const wantsPage = ({ headers: { accept = '' } }: FastifyRequest): boolean => accept.includes('text/html')

/** The error as clients of that API read it; a library shows its message as it is. */
const openAiError = (message: string): object => ({
  error: { message, type: 'invalid_request_error', param: null, code: 'unknown_url' },
})

const isOpenAi = (path: string): boolean => path === '/v1' || path.startsWith('/v1/')

/** @throws MeshError `notFound` */
const answerNotFound = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
  const path = request.url.split('?')[0]
  if (!isOpenAi(path)) throw new MeshError('notFound', { what: 'route', id: `${request.method} ${path}` })
  dropRest(request, reply)
  return reply
    .status(404)
    .send(
      openAiError(
        `Mesh has no OpenAI-compatible API (${request.method} ${path}). With an API key of mesh api-key-create: ` +
          'GET /api/api-key tells the pool, ' +
          'GET /api/pools/{poolId}/rings the models, POST /api/pools/{poolId}/jobs runs a prompt; ' +
          'GET /docs shows every route.',
      ),
    )
}

/** `/`, and answers to paths that do not exist. */
export const addFrontDoor = (app: FastifyInstance): void => {
  app.get('/', { schema: { hide: true } }, (request: FastifyRequest, reply: FastifyReply) => {
    if (wantsPage(request)) return reply.type('text/html; charset=utf-8').send(page)
    return reply.send({ name: 'Mesh control plane', version, ...links })
  })
  app.setNotFoundHandler((request, reply) => answerNotFound(request, reply))
  // what nobody waits for is not read
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404) await answerNotFound(request, reply)
  })
}
