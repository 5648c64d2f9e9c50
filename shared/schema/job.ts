/** A job: one prompt to be continued by a ring. */
import { Type } from 'typebox'
import { limits } from '../limits.ts'
import { ApiKeyId } from './api-key.ts'
import { Count, ErrorReportSchema, Hex64, ModelId, Time } from './common.ts'

export const Sampling = Type.Object(
  {
    temperature: Type.Number({ minimum: 0, maximum: 10, description: '0 is greedy' }),
    topK: Type.Integer({ minimum: 0, maximum: limits.candidates, description: '0: all' }),
    topP: Type.Number({ minimum: 0, maximum: 1 }),
    minP: Type.Number({ minimum: 0, maximum: 1 }),
    repetitionPenalty: Type.Number({ minimum: 0.1, maximum: 10 }),
    seed: Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1 }),
  },
  { additionalProperties: false },
)
export type Sampling = Type.Static<typeof Sampling>

export const Message = Type.Object(
  {
    role: Type.Union([Type.Literal('system'), Type.Literal('user'), Type.Literal('assistant')]),
    content: Type.String({ maxLength: limits.promptLength }),
  },
  { additionalProperties: false },
)
export type Message = Type.Static<typeof Message>

/**
 * A prompt that rank 0 alone opens (`sealed/sealed-job.ts`): which of its keys it is for, the encapsulated key of HPKE
 * (RFC 9180), and prompt or messages, stop strings and `special`, sealed. The answer comes sealed too: each text is
 * then pieces of `sealed/sealed-answer.ts`, and tokens are zeros.
 */
export const SealedPrompt = Type.Object(
  {
    keyId: Type.String({ pattern: '^[0-9a-f]{32}$' }),
    enc: Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
    box: Type.String({ minLength: 1, maxLength: limits.sealedLength, pattern: '^[A-Za-z0-9_-]+$' }),
  },
  { additionalProperties: false },
)
export type SealedPrompt = Type.Static<typeof SealedPrompt>

/** Exactly one of `prompt` (continued as it is), `messages` (rendered by the model's chat template) and `sealed`. */
export const JobSubmission = Type.Object(
  {
    modelId: ModelId,
    prompt: Type.Optional(Type.String({ maxLength: limits.promptLength })),
    messages: Type.Optional(Type.Array(Message, { minItems: 1, maxItems: 1000 })),
    /** Then `stop` is empty and `special` absent: they are in it. */
    sealed: Type.Optional(SealedPrompt),
    /**
     * Text written like a special token becomes one. Absent: it stays text; only the chat template writes special
     * tokens.
     */
    special: Type.Optional(Type.Boolean()),
    maxTokens: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    sampling: Sampling,
    stop: Type.Array(Type.String({ minLength: 1, maxLength: 1000 }), { maxItems: 16 }),
    idempotencyKey: Type.String({ minLength: 8, maxLength: 100, description: 'the same key never makes a second job' }),
  },
  { additionalProperties: false },
)
export type JobSubmission = Type.Static<typeof JobSubmission>

export const FinishReason = Type.Union([Type.Literal('stop'), Type.Literal('length'), Type.Literal('cancelled')])
export type FinishReason = Type.Static<typeof FinishReason>

export const Usage = Type.Object({ promptTokens: Count, completionTokens: Count, totalTokens: Count })
export type Usage = Type.Static<typeof Usage>

/** Milliseconds; measured on rank 0. */
export const Timings = Type.Object({
  queuedMs: Type.Number({ minimum: 0 }),
  timeToFirstTokenMs: Type.Number({ minimum: 0 }),
  prefillMs: Type.Number({ minimum: 0 }),
  decodeMs: Type.Number({ minimum: 0 }),
  prefillTokensPerSecond: Type.Number({ minimum: 0 }),
  decodeTokensPerSecond: Type.Number({ minimum: 0 }),
  computeMs: Type.Number({ minimum: 0 }),
  collectiveMs: Type.Number({ minimum: 0 }),
})
export type Timings = Type.Static<typeof Timings>

export const JobState = Type.Union([
  Type.Literal('queued'),
  Type.Literal('assigned'),
  Type.Literal('running'),
  Type.Literal('done'),
  Type.Literal('failed'),
  Type.Literal('cancelled'),
])
export type JobState = Type.Static<typeof JobState>

/**
 * Why a job is shown without its text: it is for others (`private`), or was forgotten (`forgotten`). What is left then
 * is what a pool needs to know of it: no prompt, answer, token, stop string, or word of a failure.
 */
export const Withheld = Type.Union([Type.Literal('private'), Type.Literal('forgotten')])
export type Withheld = Type.Static<typeof Withheld>

/** What was asked, as it is kept and shown. */
export const AskedJob = Type.Object(
  { ...JobSubmission.properties, idempotencyKey: Type.Optional(JobSubmission.properties.idempotencyKey) },
  { additionalProperties: false },
)
export type AskedJob = Type.Static<typeof AskedJob>

export const Job = Type.Object({
  jobId: Type.String(),
  poolId: Hex64,
  submittedBy: Hex64,
  /** The API key that it came by; absent: the device itself submitted it. */
  keyId: Type.Optional(ApiKeyId),
  submission: AskedJob,
  state: JobState,
  /** World size of the ring that ran it; 0 before it was assigned. */
  worldSize: Count,
  epoch: Count,
  text: Type.String(),
  tokens: Type.Array(Count),
  /** Tokens of the answer so far, also where they are not shown. */
  answered: Type.Optional(Count),
  withheld: Type.Optional(Withheld),
  finishReason: Type.Optional(FinishReason),
  usage: Type.Optional(Usage),
  timings: Type.Optional(Timings),
  error: Type.Optional(ErrorReportSchema),
  promptCut: Type.Optional(
    Type.Boolean({ description: 'of a long prompt whose job failed or was cancelled only the beginning is kept' }),
  ),
  createdAt: Time,
  startedAt: Type.Optional(Time),
  finishedAt: Type.Optional(Time),
})
export type Job = Type.Static<typeof Job>

/** What a client of `/api/jobs/:jobId/events` receives. Sequence numbers rise by one, so that each is seen once. */
export const JobEvent = Type.Union([
  Type.Object({ sequence: Count, type: Type.Literal('state'), state: JobState, worldSize: Count }),
  Type.Object({
    sequence: Count,
    type: Type.Literal('tokens'),
    firstIndex: Count,
    tokens: Type.Array(Count),
    text: Type.String(),
  }),
  Type.Object({ sequence: Count, type: Type.Literal('end'), job: Job }),
])
export type JobEvent = Type.Static<typeof JobEvent>

/**
 * What a job waits for, for clients of its events that ask to be told (header `mesh-events: waiting`). Not stored and
 * without a number, since only the newest counts; nothing more is waited for when `before` is 0 and `reason` empty.
 */
export const JobWaiting = Type.Object({
  type: Type.Literal('waiting'),
  before: Type.Integer({ minimum: 0, description: 'jobs that have the ring before this one, if no other comes' }),
  reason: Type.String({ description: 'why the ring cannot take a job; empty while it takes one after the other' }),
  /** Set where waiting does not help: somebody has to do something. */
  error: Type.Optional(ErrorReportSchema),
})
export type JobWaiting = Type.Static<typeof JobWaiting>
