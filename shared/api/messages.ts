/**
 * JSON messages on the WebSocket that every agent holds to its control plane (`/api/agents/socket`).
 * The opening HTTP request is signed like any other (`identity/request-signature.ts`).
 */
import { Type } from 'typebox'
import { Count, ErrorReportSchema, Hex64, machineText, ModelId } from '../schema/common.ts'
import { SignedStatement } from '../schema/credits.ts'
import { FinishReason, JobSubmission, Timings, Usage } from '../schema/job.ts'
import { CertificateText, JoinRequest, PinText, RevocationText } from '../schema/pool.ts'
import { Loading, RankCheck, RingEpoch, RingNetwork, SealingKeyText } from '../schema/ring.ts'
import { limits } from '../limits.ts'

const RingRef = { ringId: Type.String({ maxLength: 100 }), epoch: Count }
const JobRef = { jobId: Type.String({ maxLength: 100 }), epoch: Count }

/** Agent to control plane. */
export const AgentMessage = Type.Union([
  /** First message after connecting, and again when an address changes. `certificates`: one per pool. */
  Type.Object({
    type: Type.Literal('hello'),
    version: machineText(40),
    peerId: machineText(200),
    addresses: Type.Array(machineText(500), { maxItems: 64 }),
    certificates: Type.Array(Type.String({ maxLength: 4096 }), { maxItems: 64 }),
    /** Bytes that the machine lacks to keep its memory lock; above 0 it is degraded. */
    lockMissingBytes: Type.Optional(Count),
    /** It knows `ring-trial`. */
    trials: Type.Optional(Type.Boolean()),
  }),
  /** Half of the time of this certificate is over, or all of it: some admin may sign a new one. */
  Type.Object({ type: Type.Literal('renew'), certificate: CertificateText }),
  Type.Object({ type: Type.Literal('heartbeat'), freeMemoryBytes: Count, lockMissingBytes: Type.Optional(Count) }),
  Type.Object({
    type: Type.Literal('ring-state'),
    ...RingRef,
    state: Type.Union([Type.Literal('loading'), Type.Literal('ready'), Type.Literal('failed')]),
    progress: Type.Number({ minimum: 0, maximum: 1 }),
    loading: Type.Optional(Loading),
    error: Type.Optional(ErrorReportSchema),
    /** From rank 0 of a ready epoch of several. */
    network: Type.Optional(RingNetwork),
    /** What this rank found out about the sums of others; none of itself. */
    checks: Type.Optional(Type.Array(RankCheck, { maxItems: limits.worldSize })),
    /** From rank 0 of a ready epoch. */
    sealingKey: Type.Optional(SealingKeyText),
  }),
  /** How a `ring-trial` goes; `ready`: the part is loaded, and every other member is reached. */
  Type.Object({
    type: Type.Literal('ring-trial-state'),
    ...RingRef,
    state: Type.Union([Type.Literal('loading'), Type.Literal('ready'), Type.Literal('failed')]),
    progress: Type.Number({ minimum: 0, maximum: 1 }),
    loading: Type.Optional(Loading),
    error: Type.Optional(ErrorReportSchema),
  }),
  /** What kept this device out of a ring is gone (its disk has room again): it may be tried before its time. */
  Type.Object({ type: Type.Literal('ring-retry'), ringId: RingRef.ringId }),
  Type.Object({ type: Type.Literal('job-started'), ...JobRef, promptTokens: Count }),
  /** While rank 0 reads a long prompt: so many of its tokens are done. */
  Type.Object({ type: Type.Literal('job-progress'), ...JobRef, readTokens: Count }),
  /** Tokens `firstIndex`, `firstIndex + 1`, ...; `text` is what they add to the answer (may be empty: held back). */
  Type.Object({
    type: Type.Literal('job-tokens'),
    ...JobRef,
    firstIndex: Count,
    tokens: Type.Array(Count, { maxItems: 4096 }),
    text: Type.String(),
  }),
  Type.Object({
    type: Type.Literal('job-done'),
    ...JobRef,
    finishReason: FinishReason,
    usage: Usage,
    timings: Timings,
    /** The whole answer, so that nothing depends on every delta having arrived. */
    text: Type.String(),
    tokens: Type.Array(Count),
  }),
  Type.Object({ type: Type.Literal('job-failed'), ...JobRef, error: ErrorReportSchema }),
  /** From every rank when a job has ended there; repeated until `report-kept`. */
  Type.Object({ type: Type.Literal('work-report'), poolId: Hex64, jobId: JobRef.jobId, report: SignedStatement }),
])
export type AgentMessage = Type.Static<typeof AgentMessage>

/** Control plane to agent. */
export const ControlMessage = Type.Union([
  Type.Object({
    type: Type.Literal('welcome'),
    serverTime: Count,
    heartbeatMs: Count,
    /** Relays of this group. One at `/ip4/0.0.0.0` is on the machine of the control plane, wherever that is reached. */
    relays: Type.Optional(Type.Array(Type.String({ maxLength: 500 }), { maxItems: limits.announcedRelays })),
  }),
  /** Load this shard, link to these peers, answer with `ring-state`. Replaces every older epoch of the ring. */
  Type.Object({ type: Type.Literal('ring-epoch'), ring: RingEpoch }),
  /** All members are ready: jobs may come. */
  Type.Object({ type: Type.Literal('ring-active'), ...RingRef }),
  /** The others go on without this device; after that time it is tried again. Replaces every epoch of the ring. */
  Type.Object({
    type: Type.Literal('ring-left-out'),
    ringId: RingRef.ringId,
    poolId: Hex64,
    modelId: ModelId,
    error: ErrorReportSchema,
    retryMs: Type.Number({ minimum: 0 }),
  }),
  /** Load this shard and reach these peers, without linking to them; answer with `ring-trial-state`. */
  Type.Object({ type: Type.Literal('ring-trial'), ring: RingEpoch }),
  /** This device is no longer part of the ring. */
  Type.Object({ type: Type.Literal('ring-left'), ringId: Type.String({ maxLength: 100 }) }),
  /** To rank 0 only. */
  Type.Object({
    type: Type.Literal('job-assign'),
    ...JobRef,
    ringId: Type.String({ maxLength: 100 }),
    queuedMs: Type.Number({ minimum: 0 }),
    submission: JobSubmission,
  }),
  Type.Object({ type: Type.Literal('job-cancel'), jobId: Type.String({ maxLength: 100 }) }),
  /** The final message of the job is stored: the agent may forget it. */
  Type.Object({ type: Type.Literal('job-settled'), jobId: Type.String({ maxLength: 100 }) }),
  /** The work report on that job is stored or not wanted: the agent may forget it. */
  Type.Object({ type: Type.Literal('report-kept'), jobId: Type.String({ maxLength: 100 }) }),
  /** To admins of the pool. */
  Type.Object({ type: Type.Literal('join-request'), poolId: Hex64, request: JoinRequest }),
  /** To admins of the pool: a member wants its certificate renewed. */
  Type.Object({ type: Type.Literal('renewal-request'), poolId: Hex64, certificate: CertificateText }),
  /** A new certificate of this device. */
  Type.Object({ type: Type.Literal('certificate'), poolId: Hex64, certificate: CertificateText }),
  /** The newest revocation list of a pool of this device. */
  Type.Object({ type: Type.Literal('revocations'), poolId: Hex64, list: RevocationText }),
  /** Which control plane serves a pool of this device; the text of `identity/control-plane-pin.ts`. */
  Type.Object({ type: Type.Literal('control-plane-pin'), poolId: Hex64, pin: PinText }),
  Type.Object({ type: Type.Literal('error'), error: ErrorReportSchema }),
])
export type ControlMessage = Type.Static<typeof ControlMessage>
