/** Routes as OpenAPI tells them. */
import type { RouteRecord } from '../../shared/api/routes.ts'
import { ErrorAnswer } from '../../shared/schema/common.ts'
import { version } from '../../shared/version.ts'

const securityOf: Readonly<Record<RouteRecord['access'], readonly Record<string, string[]>[]>> = {
  open: [],
  device: [{ signature: [] }],
  member: [{ signature: [] }],
  admin: [{ signature: [] }],
  'member-or-key': [{ signature: [] }, { key: [] }],
  key: [{ key: [] }],
}

/** Schemas of a route, as Fastify checks and documents them. */
export const schemaOf = ({ summary, access, params, query, body, answer, stream }: RouteRecord): object => ({
  summary: stream ? `${summary} (${stream})` : summary,
  tags: [access],
  security: securityOf[access],
  ...(params ? { params } : {}),
  ...(query ? { querystring: query } : {}),
  ...(body ? { body } : {}),
  response: { ...(answer ? { 200: answer } : {}), '4xx': ErrorAnswer, '5xx': ErrorAnswer },
})

export const documentation = {
  openapi: {
    info: { title: 'Mesh control plane', version },
    components: {
      securitySchemes: {
        signature: {
          type: 'apiKey' as const,
          in: 'header' as const,
          name: 'mesh-signature',
          description:
            'Ed25519 signature of the device with mesh-device, mesh-time, mesh-nonce, ' +
            'mesh-body and mesh-protocol; member routes also want mesh-certificate',
        },
        key: { type: 'http' as const, scheme: 'bearer', description: 'API key of mesh api-key-create, for one pool' },
      },
    },
  },
}
