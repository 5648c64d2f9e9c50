/**
 * Every HTTP route of the control plane, as data. Fastify's validation, the OpenAPI page and the typed client
 * derive from this table.
 *
 * `access`: `open` needs nothing; `device` a signed request; `member` also a valid membership certificate of
 * `:poolId` in the header `mesh-certificate`; `admin` one with the role admin. `key` wants an API key of an app
 * (`Authorization: Bearer mesh_sk_...`) instead of a signature; `member-or-key` takes what `member` takes, or a key of
 * `:poolId`, which then sees only the jobs that were submitted with it.
 */
import { type Static, type TSchema, Type } from 'typebox'
import type { ControlPlaneId } from '../ids.ts'
import { ApiKey, ApiKeyCreation, ApiKeyId } from '../schema/api-key.ts'
import { Count, ErrorReportSchema, Hex64, ModelId, Time } from '../schema/common.ts'
import { CreditsView, LedgerPage, QuotaView, SignedStatement } from '../schema/credits.ts'
import { Device, DeviceRegistration } from '../schema/device.ts'
import { Job, JobSubmission } from '../schema/job.ts'
import { LockRecord, LockText } from '../schema/lock.ts'
import {
  CertificateText,
  CharterText,
  InviteProof,
  JoinRequest,
  PinText,
  Pool,
  PoolCreation,
  PoolPeer,
  RevocationText,
} from '../schema/pool.ts'
import { RingJoin, RingView } from '../schema/ring.ts'
import { limits } from '../limits.ts'

export interface RouteRecord {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly access: 'open' | 'device' | 'member' | 'admin' | 'member-or-key' | 'key'
  readonly summary: string
  readonly params?: TSchema
  readonly query?: TSchema
  readonly body?: TSchema
  /** The most that a body may have; absent: `limits.bodyBytes`. */
  readonly bodyBytes?: number
  /** Schema of the 200 answer; absent for the event stream and the socket. */
  readonly answer?: TSchema
  readonly stream?: 'sse' | 'websocket'
}

const PoolParams = Type.Object({ poolId: Hex64 })
const JobParams = Type.Object({ poolId: Hex64, jobId: Type.String({ maxLength: 100 }) })
const KeyParams = Type.Object({ poolId: Hex64, keyId: ApiKeyId })
const LedgerQuery = Type.Object({
  after: Type.Optional(Count),
  since: Type.Optional(Time),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.ledgerPage })),
})
const Done = Type.Object({ ok: Type.Literal(true) })

export const routes = {
  health: {
    method: 'GET',
    path: '/health',
    access: 'open',
    summary: 'Is the process alive?',
    answer: Type.Object({ status: Type.Literal('ok'), version: Type.String(), uptimeSeconds: Type.Number() }),
  },
  ready: {
    method: 'GET',
    path: '/ready',
    access: 'open',
    summary: 'Can it serve? 503 while nothing can be stored',
    answer: Type.Object({ ready: Type.Boolean(), devicesOnline: Count, jobsQueued: Count }),
  },
  controlPlane: {
    method: 'GET',
    path: '/api/control-plane',
    access: 'open',
    summary:
      'The key of this control plane, and the certificate that programs may be told to trust: worth as much as the connection that it came by',
    answer: Type.Object({
      controlPlaneKey: Type.Unsafe<ControlPlaneId>(Hex64),
      certificate: Type.Optional(Type.String({ description: 'PEM; absent where it speaks no TLS' })),
    }),
  },

  registerDevice: {
    method: 'POST',
    path: '/api/devices',
    access: 'device',
    summary: 'Register the signing device, or update what is known of it',
    body: DeviceRegistration,
    answer: Device,
  },
  getDevice: {
    method: 'GET',
    path: '/api/devices/self',
    access: 'device',
    summary: 'The signing device',
    answer: Device,
  },
  getLock: {
    method: 'GET',
    path: '/api/devices/self/lock',
    access: 'device',
    summary: 'The newest statement of the signing device on its locked memory',
    answer: LockRecord,
  },
  recordLock: {
    method: 'POST',
    path: '/api/devices/self/lock',
    access: 'device',
    summary:
      'Record a signed statement on locked memory; an older one than is known changes nothing, the newest is the answer',
    body: Type.Object({ statement: LockText }, { additionalProperties: false }),
    answer: LockRecord,
  },
  agentSocket: {
    method: 'GET',
    path: '/api/agents/socket',
    access: 'device',
    summary: 'WebSocket of an agent',
    stream: 'websocket',
  },

  createPool: {
    method: 'POST',
    path: '/api/pools',
    access: 'device',
    summary: 'Publish a pool; repeating it is harmless',
    body: PoolCreation,
    answer: Pool,
  },
  getPool: {
    method: 'GET',
    path: '/api/pools/:poolId',
    access: 'member',
    summary: 'One pool',
    params: PoolParams,
    answer: Pool,
  },
  getCharter: {
    method: 'GET',
    path: '/api/pools/:poolId/charter',
    access: 'device',
    summary: 'What the root key of a pool signed when it was made: who may read prompts and answers',
    params: PoolParams,
    answer: Type.Object({ charter: Type.Optional(CharterText) }),
  },
  listPools: {
    method: 'GET',
    path: '/api/pools',
    access: 'device',
    summary: 'Pools the signing device is a member of',
    answer: Type.Array(Pool),
  },
  listPeers: {
    method: 'GET',
    path: '/api/pools/:poolId/peers',
    access: 'member',
    summary: 'Members of a pool',
    params: PoolParams,
    answer: Type.Array(PoolPeer),
  },
  requestJoin: {
    method: 'POST',
    path: '/api/pools/:poolId/join-requests',
    access: 'device',
    summary: 'Ask the admins of a pool for a certificate; repeating it is harmless',
    params: PoolParams,
    body: Type.Object({ rootPublicKey: Hex64, invite: Type.Optional(InviteProof) }, { additionalProperties: false }),
    answer: JoinRequest,
  },
  getJoin: {
    method: 'GET',
    path: '/api/pools/:poolId/join-requests/self',
    access: 'device',
    summary: 'Where the request of the signing device stands',
    params: PoolParams,
    answer: JoinRequest,
  },
  listJoins: {
    method: 'GET',
    path: '/api/pools/:poolId/join-requests',
    access: 'admin',
    summary: 'Requests that wait for an answer',
    params: PoolParams,
    answer: Type.Array(JoinRequest),
  },
  denyJoin: {
    method: 'POST',
    path: '/api/pools/:poolId/join-requests/deny',
    access: 'admin',
    summary: 'Refuse a request, with the reason',
    params: PoolParams,
    body: Type.Object({ deviceId: Hex64, error: ErrorReportSchema }, { additionalProperties: false }),
    answer: Done,
  },
  publishCertificate: {
    method: 'POST',
    path: '/api/pools/:poolId/certificates',
    access: 'admin',
    summary: 'Publish a certificate that an admin signed',
    params: PoolParams,
    body: Type.Object({ certificate: CertificateText }, { additionalProperties: false }),
    answer: Done,
  },
  getRevocations: {
    method: 'GET',
    path: '/api/pools/:poolId/revocations',
    access: 'device',
    summary: 'The newest revocation list of a pool',
    params: PoolParams,
    answer: Type.Object({ list: Type.Optional(RevocationText) }),
  },
  publishRevocations: {
    method: 'POST',
    path: '/api/pools/:poolId/revocations',
    access: 'device',
    summary: 'Publish a newer revocation list; its signature decides whether it holds',
    params: PoolParams,
    bodyBytes: limits.revocationBytes + 1024,
    body: Type.Object({ list: RevocationText }, { additionalProperties: false }),
    answer: Done,
  },
  getPin: {
    method: 'GET',
    path: '/api/pools/:poolId/control-plane-pin',
    access: 'device',
    summary: 'Which control plane serves a pool, signed by its admins',
    params: PoolParams,
    answer: Type.Object({ pin: Type.Optional(PinText) }),
  },
  publishPin: {
    method: 'POST',
    path: '/api/pools/:poolId/control-plane-pin',
    access: 'device',
    summary: 'Publish a newer statement of which control plane serves a pool; its signature decides whether it holds',
    params: PoolParams,
    body: Type.Object({ pin: PinText }, { additionalProperties: false }),
    answer: Done,
  },

  joinRing: {
    method: 'POST',
    path: '/api/pools/:poolId/rings/join',
    access: 'member',
    summary: 'Take part in serving a model',
    params: PoolParams,
    body: RingJoin,
    answer: RingView,
  },
  leaveRing: {
    method: 'POST',
    path: '/api/pools/:poolId/rings/leave',
    access: 'member',
    summary: 'Stop taking part',
    params: PoolParams,
    body: Type.Object({ modelId: ModelId }, { additionalProperties: false }),
    answer: Done,
  },
  removeRing: {
    method: 'POST',
    path: '/api/pools/:poolId/rings/remove',
    access: 'member',
    summary:
      'Remove a ring whoever serves it: by an admin, or by the only device that does. A job that runs ends first',
    params: PoolParams,
    body: Type.Object({ modelId: ModelId }, { additionalProperties: false }),
    answer: Type.Object({ ok: Type.Literal(true), jobRuns: Type.Boolean() }),
  },
  listRings: {
    method: 'GET',
    path: '/api/pools/:poolId/rings',
    access: 'member-or-key',
    summary: 'Rings of a pool with members, neighbours and columns',
    params: PoolParams,
    answer: Type.Array(RingView),
  },

  submitJob: {
    method: 'POST',
    path: '/api/pools/:poolId/jobs',
    access: 'member-or-key',
    summary: 'Queue a prompt; the same idempotency key gives the same job',
    params: PoolParams,
    bodyBytes: limits.requestBytes,
    body: JobSubmission,
    answer: Job,
  },
  listJobs: {
    method: 'GET',
    path: '/api/pools/:poolId/jobs',
    access: 'member',
    summary: 'Job history, newest first; of jobs of others without their text',
    params: PoolParams,
    query: Type.Object({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 20 })) }),
    answer: Type.Array(Job),
  },
  getJob: {
    method: 'GET',
    path: '/api/pools/:poolId/jobs/:jobId',
    access: 'member-or-key',
    summary: 'One job; of others without its text',
    params: JobParams,
    answer: Job,
  },
  cancelJob: {
    method: 'DELETE',
    path: '/api/pools/:poolId/jobs/:jobId',
    access: 'member-or-key',
    summary: 'Cancel a job',
    params: JobParams,
    answer: Job,
  },
  confirmUse: {
    method: 'POST',
    path: '/api/pools/:poolId/jobs/:jobId/use',
    access: 'member',
    summary: 'The submitter signs what a finished job used; repeating it is harmless',
    params: JobParams,
    body: SignedStatement,
    answer: Done,
  },
  jobEvents: {
    method: 'GET',
    path: '/api/pools/:poolId/jobs/:jobId/events',
    access: 'member-or-key',
    summary:
      'Server-sent events of a job (schema JobEvent), for who may read its text, from the start or after Last-Event-ID; with the header mesh-events: waiting also what it waits for (schema JobWaiting)',
    params: JobParams,
    stream: 'sse',
  },

  createKey: {
    method: 'POST',
    path: '/api/pools/:poolId/api-keys',
    access: 'member',
    summary: 'Store the hash of a new API key; repeating it is harmless',
    params: PoolParams,
    body: ApiKeyCreation,
    answer: ApiKey,
  },
  listKeys: {
    method: 'GET',
    path: '/api/pools/:poolId/api-keys',
    access: 'member',
    summary: 'API keys of the signing device; for an admin all of the pool',
    params: PoolParams,
    answer: Type.Array(ApiKey),
  },
  revokeKey: {
    method: 'DELETE',
    path: '/api/pools/:poolId/api-keys/:keyId',
    access: 'member',
    summary: 'End an API key and its jobs: by the device that made it, or an admin',
    params: KeyParams,
    answer: ApiKey,
  },
  getKey: {
    method: 'GET',
    path: '/api/api-key',
    access: 'key',
    summary: 'The API key of the request: its pool, and what is left of its quota',
    answer: ApiKey,
  },

  credits: {
    method: 'GET',
    path: '/api/pools/:poolId/credits',
    access: 'member',
    summary: 'What each member contributed and used',
    params: PoolParams,
    answer: CreditsView,
  },
  quota: {
    method: 'GET',
    path: '/api/pools/:poolId/quota',
    access: 'member',
    summary: 'What the signing device gets of a busy pool',
    params: PoolParams,
    answer: QuotaView,
  },
  ledger: {
    method: 'GET',
    path: '/api/pools/:poolId/ledger',
    access: 'member',
    summary: 'Entries of the ledger, in order',
    params: PoolParams,
    query: LedgerQuery,
    answer: LedgerPage,
  },
} as const satisfies Record<string, RouteRecord>

export type RouteName = keyof typeof routes
type Routes = typeof routes
type Part<R, Key extends string> = R extends { readonly [K in Key]: infer S extends TSchema } ? Static<S> : undefined

export type ParamsOf<Name extends RouteName> = Part<Routes[Name], 'params'>
export type QueryOf<Name extends RouteName> = Part<Routes[Name], 'query'>
export type BodyOf<Name extends RouteName> = Part<Routes[Name], 'body'>
export type AnswerOf<Name extends RouteName> = Part<Routes[Name], 'answer'>
