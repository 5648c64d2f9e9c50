/** CBOR messages between agents: the gate, and control frames between the ranks of a ring. */
import { Decoder, Encoder } from 'cbor-x'
import { type Static, type TSchema, Type } from 'typebox'
import { Compile, type Validator } from 'typebox/compile'
import { Value } from 'typebox/value'
import { MeshError, problemOf } from '../errors.ts'
import { Count, ErrorReportSchema, Hex64 } from '../schema/common.ts'
import { Sampling } from '../schema/job.ts'
import { Carrier, CollectiveChoice } from '../schema/ring.ts'
import { scanCbor } from './cbor-scan.ts'
import { limits } from '../limits.ts'

/** Plain maps, no cbor-x record extension: any CBOR library can read it. */
const encoder = new Encoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false, variableMapSize: true })
const decoder = new Decoder({ useRecords: false, mapsAsObjects: true })

export const encodeCbor = (value: unknown): Uint8Array => encoder.encode(value)

/** A whole number for `encodeCbor` as CBOR has it: beyond 32 bits the encoder would take a float for it. */
export const encodeInteger = (value: number): number | bigint =>
  value < -(2 ** 32) || value >= 2 ** 32 ? BigInt(value) : value

/** Checks of a schema as code: thirty times as fast as walking the schema for each message. */
const validators = new WeakMap<TSchema, Validator>()
/** What is larger is refused without saying which field: finding that walks schema and message. */
const explainedBytes = 4096

const validatorOf = (schema: TSchema): Validator => {
  const known = validators.get(schema)
  if (known) return known
  const made = Compile(schema)
  validators.set(schema, made)
  return made
}

/**
 * The one decoder for CBOR that others wrote: its time is bounded by the bytes, whatever they are (`cbor-scan.ts`).
 * @param schema a constant: its check is compiled once
 * @throws MeshError `frameInvalid` when the bytes are not CBOR of that schema | `frameTooLarge`
 */
export const decodeCbor = <T extends TSchema>(schema: T, bytes: Uint8Array): Static<T> => {
  scanCbor(bytes)
  let value: unknown
  try {
    value = decoder.decode(bytes)
  } catch (error) {
    throw new MeshError('frameInvalid', { problem: `not CBOR: ${problemOf(error)}` }, error)
  }
  if (!validatorOf(schema).Check(value)) {
    const first = bytes.length > explainedBytes ? undefined : Value.Errors(schema, value)[0]
    throw new MeshError('frameInvalid', {
      problem: first ? `${first.instancePath || 'message'} ${first.message}` : 'wrong fields',
    })
  }
  return value as Static<T>
}

/** A certificate in its text form, as in `identity/pool-certificate.ts`. */
const CertificateText = Type.String({ maxLength: 2 * limits.certificateBytes })

/** First and only message of each side on the gate protocol. The connection itself proves the device key. */
export const GateMessage = Type.Object({
  poolId: Hex64,
  certificate: CertificateText,
  /** Number of the revocation list that the sender holds; 0: none. */
  revocations: Count,
})
export type GateMessage = Static<typeof GateMessage>

export const GateAnswer = Type.Object({
  ok: Type.Boolean(),
  certificate: Type.Optional(CertificateText),
  revocations: Type.Optional(Count),
  error: Type.Optional(ErrorReportSchema),
})
export type GateAnswer = Static<typeof GateAnswer>

/** The only message on a revocation stream. */
export const RevocationMessage = Type.Object({
  poolId: Hex64,
  /** Text form, as in `identity/revocation-list.ts`. */
  list: Type.String({ maxLength: limits.revocationBytes }),
})
export type RevocationMessage = Static<typeof RevocationMessage>

/** A member asks an admin to renew its certificate: one message each way on a renewal stream. */
export const RenewalRequest = Type.Object({
  poolId: Hex64,
  certificate: CertificateText,
})
export type RenewalRequest = Static<typeof RenewalRequest>

/** The new certificate, or why not. */
export const RenewalAnswer = Type.Union([
  Type.Object({ certificate: CertificateText }),
  Type.Object({ error: ErrorReportSchema }),
])
export type RenewalAnswer = Static<typeof RenewalAnswer>

/** First message to a relay that serves some pools only. The connection itself proves the device key. */
export const RelayProof = Type.Object({
  poolId: Hex64,
  /** The relay may know the pool by its id alone, which is a hash of this key. */
  rootPublicKey: Hex64,
  certificate: CertificateText,
  /** Number of the revocation list that the sender holds; 0: none. */
  revocations: Count,
})
export type RelayProof = Static<typeof RelayProof>

/** Its answer. When `revocations` is lower than that of the proof, the device sends a RevocationMessage next. */
export const RelayAnswer = Type.Object({
  ok: Type.Boolean(),
  revocations: Type.Optional(Count),
  error: Type.Optional(ErrorReportSchema),
})
export type RelayAnswer = Static<typeof RelayAnswer>

/** First message on a ring stream, both ways: which ring, epoch and rank the sender means. */
export const RingHello = Type.Object({
  poolId: Hex64,
  ringId: Type.String({ maxLength: 100 }),
  epoch: Count,
  rank: Count,
  worldSize: Type.Integer({ minimum: 1, maximum: limits.worldSize }),
})
export type RingHello = Static<typeof RingHello>

/** Answer of the listener: its own hello, or why not. */
export const RingAnswer = Type.Union([RingHello, Type.Object({ error: ErrorReportSchema })])
export type RingAnswer = Static<typeof RingAnswer>

/** How to reach the socket of a rank (`agent/rank/open-links.ts`), or why it has none. */
export const LinkOffer = Type.Union([
  Type.Object({
    port: Type.Integer({ minimum: 1, maximum: 65_535 }),
    fingerprint: Type.String({ pattern: '^([0-9A-F]{2}:){31}[0-9A-F]{2}$' }),
  }),
  Type.Object({ problem: Type.String({ maxLength: 500 }) }),
])
export type LinkOffer = Static<typeof LinkOffer>

/** Whether the sockets of a rank are open: no problem, or which. */
export const LinkVerdict = Type.Object({ problem: Type.Optional(Type.String({ maxLength: 500 })) })
export type LinkVerdict = Static<typeof LinkVerdict>

/** A run of tokens of one sequence: `position` is the index of the first token in the context. */
const Sequence = Type.Object({
  slot: Count,
  position: Count,
  tokens: Type.Array(Count),
  /** Positions that the sequence may reach, the same in all of its steps; absent: the context of the ring. */
  planned: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 })),
  /** Rows whose logits are wanted: the last one, all, or none (a prefill chunk that is not the last). */
  logits: Type.Union([Type.Literal('last'), Type.Literal('all'), Type.Literal('none')]),
})

/**
 * How the ranks sum while a job runs: rank 0 says, all do the same. `link` is what the choice of an algorithm reckons
 * with: `alpha` seconds for an empty message, one way, and `beta` seconds a byte.
 */
const CollectiveAgreement = Type.Object({
  algorithm: CollectiveChoice,
  wire: Type.Union([Type.Literal('auto'), Type.Literal('f32'), Type.Literal('f16'), Type.Literal('q8')]),
  carrier: Type.Optional(Carrier),
  link: Type.Optional(Type.Object({ alpha: Type.Number({ minimum: 0 }), beta: Type.Number({ minimum: 0 }) })),
})

/** Control frames of a ring: rank 0 leads, the others follow. */
export const RingControl = Type.Union([
  Type.Object({
    type: Type.Literal('job-start'),
    job: Count,
    jobId: Type.String({ maxLength: 100 }),
    sampling: Sampling,
    collective: CollectiveAgreement,
  }),
  Type.Object({
    type: Type.Literal('step'),
    job: Count,
    step: Count,
    sequences: Type.Array(Sequence, { maxItems: 64 }),
  }),
  /** The candidates of that step do not tell which token is drawn: send all logits. */
  Type.Object({ type: Type.Literal('logits'), job: Count, step: Count }),
  Type.Object({ type: Type.Literal('job-end'), job: Count }),
  /** From any rank: the job cannot go on. */
  Type.Object({ type: Type.Literal('abort'), job: Count, error: ErrorReportSchema }),
])
export type RingControl = Static<typeof RingControl>
export type SequenceStep = Static<typeof Sequence>
