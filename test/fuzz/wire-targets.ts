/** Decoders of what devices send each other: CBOR messages, frames, statements that are signed. */
import fc from 'fast-check'
import type { TSchema } from 'typebox'
import { FrameAssembler } from '../../agent/channel/frame-assembler.ts'
import { wireCodecs } from '../../agent/collective/wire-types.ts'
import { decodeCandidates, decodeLogits, encodeCandidates, encodeLogits } from '../../agent/generation/candidates.ts'
import { Answer, Question } from '../../agent/network/control-plane-exchange.ts'
import { readPin, signPin } from '../../shared/identity/control-plane-pin.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { decodeInvite, encodeInvite } from '../../shared/identity/invite.ts'
import { exportKey, importKey } from '../../shared/identity/key-export.ts'
import { keyPairFromSeed, toHex } from '../../shared/identity/keys.ts'
import { signCommitment, verifyCommitment } from '../../shared/identity/lock-statement.ts'
import { readCharter, signCharter } from '../../shared/identity/pool-charter.ts'
import { issueCertificate, poolIdOf, verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import { readRevocations, signRevocations } from '../../shared/identity/revocation-list.ts'
import { decodeStatement } from '../../shared/identity/signed-statement.ts'
import { holdsStatement, signStatement } from '../../shared/identity/statement.ts'
import { parseControlPlaneId } from '../../shared/ids.ts'
import { hashOf, noHash } from '../../shared/ledger/entry.ts'
import { LedgerCheck } from '../../shared/ledger/verify.ts'
import { Commitment } from '../../shared/schema/lock.ts'
import { LedgerEntry, SignedStatement } from '../../shared/schema/credits.ts'
import { RingLinkTable } from '../../shared/schema/ring.ts'
import * as envelope from '../../shared/wire/envelope.ts'
import { dtypes, encodeFrameHeader, frameKinds, phases } from '../../shared/wire/frame.ts'
import { limits } from '../../shared/limits.ts'
import { type Chunk, type MessageStream, readMessage, sendMessage } from '../../shared/wire/message-stream.ts'
import { anything, arbitraryOf } from './arbitrary-of-schema.ts'
import { damagedBytes, damagedText, hostile } from './edits.ts'
import { outcomeOf } from './refusal.ts'
import { anyTarget, type Target } from './run-cases.ts'

const [root, admin, member] = [1, 2, 3].map((seed) => keyPairFromSeed(new Uint8Array(32).fill(seed)))
const poolId = poolIdOf(root.publicKey)
const now = Date.UTC(2026, 0, 2)
const adminCertificate = issueCertificate(root, { deviceId: deviceIdOf(admin), role: 'admin' }, now)
const certificates = [
  adminCertificate,
  issueCertificate(root, { deviceId: deviceIdOf(member), role: 'member' }, now),
  issueCertificate(
    { key: admin, certificate: adminCertificate },
    { deviceId: deviceIdOf(member), role: 'member' },
    now,
  ),
]
const removals = { has: () => false }

/** What stands for something in the messages of a pool. */
export const words = [
  poolId,
  deviceIdOf(root),
  deviceIdOf(admin),
  deviceIdOf(member),
  toHex(root.publicKey),
  ...certificates,
]

const isSchema = (value: unknown): value is TSchema =>
  typeof value === 'object' && value !== null && ('type' in value || 'anyOf' in value)

/** Every message that is described in `envelope.ts`, by its name there, and the ones that live elsewhere. */
const messages: readonly (readonly [string, TSchema])[] = [
  ...Object.entries(envelope as Readonly<Record<string, unknown>>).flatMap(([name, value]) =>
    isSchema(value) ? [[name, value] as const] : [],
  ),
  ['RingLinkTable', RingLinkTable],
  ['Question of a control plane', Question],
  ['Answer on a control plane', Answer],
]

const cborOf = (value: unknown): Uint8Array => {
  try {
    return envelope.encodeCbor(value)
  } catch {
    return envelope.encodeCbor(null) // it is not of CBOR: a lone half of a character, for one
  }
}

const cborTargets = messages.map(([name, schema]): Target =>
  anyTarget({
    name: `CBOR ${name}`,
    cases: damagedBytes(hostile(schema, words).map(cborOf)),
    run: (bytes) => outcomeOf(() => envelope.decodeCbor(schema, bytes)),
  }),
)

const byte = fc.integer({ min: 0, max: 255 })
const uint = fc.oneof(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }))
const headers = fc.record({
  kind: fc.constantFrom(...Object.values(frameKinds)),
  dtype: fc.constantFrom(...Object.values(dtypes)),
  phase: fc.constantFrom(...Object.values(phases)),
  epoch: uint,
  job: uint,
  step: uint,
  operation: uint,
  chunk: uint,
  payloadBytes: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 0, max: 300 }) }, { weight: 1, arbitrary: uint }),
})
const frame = fc
  .tuple(headers, fc.uint8Array({ maxLength: 300 }))
  .map(([header, content]) => Buffer.concat([encodeFrameHeader(header), content.subarray(0, header.payloadBytes)]))
const frames = fc.array(damagedBytes(frame), { minLength: 1, maxLength: 4 }).map((parts) => Buffer.concat(parts))

/** Cut into chunks as a network does. */
const chunked = (bytes: Uint8Array, at: readonly number[]): Uint8Array[] => {
  const ends = [...new Set([...at.map((place) => place % (bytes.length + 1)), bytes.length])].toSorted((a, b) => a - b)
  return ends.map((end, index) => bytes.subarray(index === 0 ? 0 : ends[index - 1], end))
}

/** A stream that brings these chunks and ends. */
const streamOf = (chunks: readonly Uint8Array[]): MessageStream => {
  const listeners = new Map<string, Set<(event: { readonly data: Chunk }) => void>>()
  const of = (type: string): Set<(event: { readonly data: Chunk }) => void> =>
    listeners.get(type) ?? listeners.set(type, new Set()).get(type)!
  queueMicrotask(() => {
    for (const data of chunks) for (const listener of of('message')) listener({ data })
    for (const listener of of('close')) listener({ data: [] })
  })
  return {
    send: () => undefined,
    unshift: () => undefined,
    addEventListener: (type: string, listener: (event: { readonly data: Chunk }) => void) =>
      void of(type).add(listener),
    removeEventListener: (type: string, listener: (event: { readonly data: Chunk }) => void) =>
      void of(type).delete(listener),
  }
}

const sent = (body: Uint8Array): Uint8Array => {
  let whole: Uint8Array = new Uint8Array()
  sendMessage({ ...streamOf([]), send: (data) => (whole = data) }, body)
  return whole
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
const columns = { start: 100, end: 164 }
const candidates = fc
  .array(fc.record({ id: fc.integer({ min: 90, max: 170 }), logit: fc.float() }), { maxLength: 64 })
  .map((list) => {
    const ordered = list.toSorted((a, b) => b.logit - a.logit || a.id - b.id)
    return encodeCandidates({
      ids: Uint32Array.from(ordered, ({ id }) => id),
      logits: Float32Array.from(ordered, ({ logit }) => logit),
      logSumExp: 1,
      complete: list.length === 64,
    })
  })

const frameTargets = [
  anyTarget({
    name: 'frames of a ring',
    cases: fc.tuple(frames, fc.array(fc.nat(), { maxLength: 5 })),
    run: ([bytes, cuts]) =>
      outcomeOf(() => {
        const assembler = new FrameAssembler(() => undefined)
        for (const chunk of chunked(bytes, cuts)) assembler.push(chunk)
      }),
  }),
  anyTarget({
    name: 'length-prefixed messages',
    cases: fc.tuple(damagedBytes(fc.uint8Array({ maxLength: 500 }).map(sent)), fc.array(fc.nat(), { maxLength: 5 })),
    run: ([bytes, cuts]) =>
      outcomeOf(() => readMessage(streamOf(chunked(bytes, cuts)), limits.gateBytes, AbortSignal.timeout(1000))),
  }),
  anyTarget({
    name: 'candidates',
    cases: damagedBytes(candidates),
    run: (bytes) => outcomeOf(() => decodeCandidates(new Uint8Array(bytes), columns)),
  }),
  anyTarget({
    name: 'logits',
    cases: damagedBytes(
      fc
        .float32Array({ minLength: 63, maxLength: 65, noNaN: true, noDefaultInfinity: true })
        .map((logits) => encodeLogits({ vocabStart: 100, logits })),
    ),
    run: (bytes) => outcomeOf(() => decodeLogits(new Uint8Array(bytes), columns)),
  }),
  anyTarget({
    name: 'parts of sums',
    cases: fc.tuple(fc.constantFrom(...Object.values(wireCodecs)), fc.integer({ min: 1, max: 64 }), byte),
    run: ([codec, length, fill]) =>
      outcomeOf(() => {
        const part = new Uint8Array(codec.size(length)).fill(fill)
        codec.isPlausible(part)
        codec.set(new Float32Array(length), part)
        codec.add(new Float32Array(length), part)
      }),
  }),
]

/** Any CBOR as the statements have it, in their text form. */
const anyStatement = fc
  .array(fc.oneof(fc.uint8Array({ maxLength: 80 }), anything), { maxLength: 8 })
  .map((value) => textOf(cborOf(value)))
const textTarget = (name: string, valid: fc.Arbitrary<string>, read: (text: string) => unknown): Target =>
  anyTarget({
    name,
    cases: damagedText(
      fc.oneof(
        valid,
        valid.map((text) => textOf(Buffer.from(text, 'base64url'))),
        anyStatement,
      ),
    ),
    run: (text) => outcomeOf(() => read(text)),
  })

/** Of the same form, with a bit that fell over inside of what the text stands for. */
const inside = (valid: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.oneof(valid, damagedBytes(valid.map((text) => Buffer.from(text, 'base64url'))).map(textOf))

const pins = fc
  .tuple(fc.constantFrom(root, { key: admin, certificate: adminCertificate }), fc.nat())
  .map(([signer, after]) => signPin(signer, { after, controlPlaneId: parseControlPlaneId('c'.repeat(64)) }, now))
const commitments = arbitraryOf(Commitment).map((value) => signCommitment(member, value as Commitment))
const lists = fc
  .tuple(
    fc.constantFrom(root, { key: admin, certificate: adminCertificate }),
    fc.uniqueArray(fc.constantFrom(...words.filter((word) => /^[0-9a-f]{64}$/.test(word))), { maxLength: 3 }),
    fc.nat(5),
  )
  .map(([signer, removed, after]) => signRevocations(signer, { after, removed }, now))
const invites = fc
  .record({
    notAfter: fc.nat().map((seconds) => seconds * 1000),
    urls: fc.array(fc.webUrl({ validSchemes: ['http', 'https'] }), { maxLength: 5 }),
  })
  .map(({ notAfter, urls }) =>
    encodeInvite({
      rootPublicKey: root.publicKey,
      inviteId: '0'.repeat(16),
      secret: new Uint8Array(16),
      notAfter,
      urls,
    }),
  )
const exported = fc.constant(exportKey({ key: root, name: 'home' }, 'a pass phrase of some length'))
/** How many pieces of a text behind its first word, as invites and exported keys have one. */
const behindPrefix = (lines: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  lines.chain((line) => {
    const prefix = line.slice(0, line.indexOf(':') + 1)
    return inside(fc.constant(line.slice(prefix.length))).map((digits) => prefix + digits)
  })

const statements = arbitraryOf(SignedStatement, words).map((value) =>
  signStatement(member, poolId, value as SignedStatement),
)

/** A ledger whose hashes hold, of entries that need not. */
const ledger = fc.array(arbitraryOf(LedgerEntry, [...words, 'job_1']), { maxLength: 4 }).map((list) => {
  let head: string = noHash
  return (list as LedgerEntry[]).map((entry, index) => {
    const content = {
      ...entry,
      sequence: index + 1,
      jobId: 'job_1',
      kind: index === list.length - 1 ? ('use' as const) : ('work' as const),
    }
    head = hashOf(poolId, head, content)
    return { ...content, hash: head }
  })
})

const signedTargets = [
  textTarget('certificates', inside(fc.constantFrom(...certificates)), (text) =>
    verifyCertificate(text, root.publicKey, now, removals),
  ),
  textTarget('revocation lists', inside(lists), (text) => readRevocations(text, root.publicKey, now)),
  textTarget('pins of a control plane', inside(pins), (text) => readPin(text, root.publicKey, now)),
  textTarget('charters', inside(fc.boolean().map((adminsReadText) => signCharter(root, { adminsReadText }))), (text) =>
    readCharter(text, root.publicKey),
  ),
  textTarget('statements on locked memory', inside(commitments), (text) => verifyCommitment(text, member.publicKey)),
  textTarget('signed statements', inside(fc.constantFrom(...certificates)), (text) =>
    decodeStatement(Buffer.from(text, 'base64url')),
  ),
  textTarget('invites', behindPrefix(invites), decodeInvite),
  {
    ...textTarget('exported keys', behindPrefix(exported), (text) => importKey(text, 'a pass phrase of some length')),
    isSlow: true,
  },
  anyTarget({
    name: 'statements on jobs',
    cases: fc.oneof(statements, hostile(SignedStatement, words)),
    run: (value) =>
      outcomeOf(() => holdsStatement({ poolId, deviceId: deviceIdOf(member) }, (value ?? {}) as SignedStatement)),
  }),
  anyTarget({
    name: 'entries of a ledger',
    cases: fc.tuple(ledger, fc.boolean()),
    run: ([entries, signatures]) =>
      outcomeOf(() => {
        const check = new LedgerCheck({ poolId, signatures })
        check.push(entries)
        check.finish()
      }),
  }),
]

export const wireTargets: readonly Target[] = [...cborTargets, ...frameTargets, ...signedTargets]
