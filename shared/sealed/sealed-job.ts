/**
 * Prompts that the control plane carries and cannot read: sealed for rank 0 of a ring by HPKE (RFC 9180, base mode,
 * DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM).
 *
 * Sealed: prompt or messages, stop strings, `special`; as JSON padded to 256 bytes. Bound to it: pool, model, and all
 * else that changes the answer (`maxTokens`, sampling), so that none of that can be changed on the way. The secret of
 * the answer (`sealed-answer.ts`) is exported from the same context. What the control plane still sees is the model,
 * those settings, how many tokens prompt and answer have, and when. Every rank of the ring gets the tokens.
 */
import { createHash, type webcrypto } from 'node:crypto'
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core'
import { Value } from 'typebox/value'
import { MeshError } from '../errors.ts'
import { JobSubmission } from '../schema/job.ts'
import { padded, unpadded } from './padding.ts'

/** The key pair of a rank 0. The private key stays in the process. */
export interface SealingPair {
  /** X25519, 32 bytes. */
  readonly publicKey: Uint8Array
  readonly pair: webcrypto.CryptoKeyPair
}

/** A submission to send, and the secret that opens its answer. */
export interface SealedJob {
  readonly submission: JobSubmission
  /** 32 bytes. */
  readonly answerSecret: Uint8Array
}

const block = 256
const infoTag = 'meshnet-sealed-job-v1'
const exportTag = 'meshnet-sealed-answer-v1'

const suite = (): CipherSuite =>
  new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() })

/** A copy that owns its memory: what WebCrypto takes. */
const bytesOf = (value: string | Uint8Array): ArrayBuffer => {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer
}

/** Names a sealing key: 16 bytes of its SHA-256, in hex. */
const sealingKeyId = (publicKey: Uint8Array): string =>
  createHash('sha256').update(publicKey).digest('hex').slice(0, 32)

export const newSealingPair = async (): Promise<SealingPair> => {
  const { kem } = suite()
  const pair = await kem.generateKeyPair()
  return { pair, publicKey: new Uint8Array(await kem.serializePublicKey(pair.publicKey)) }
}

const infoOf = (poolId: string, { modelId }: JobSubmission): ArrayBuffer =>
  bytesOf(JSON.stringify([infoTag, poolId, modelId]))

/** All that changes the answer and is not sealed. */
const boundTo = ({
  maxTokens,
  sampling: { temperature, topK, topP, minP, repetitionPenalty, seed },
}: JobSubmission): ArrayBuffer =>
  bytesOf(JSON.stringify([maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed]))

/**
 * Seals a submission.
 * @param publicKey of rank 0, from `verifySealingKey`
 */
export const sealJob = async (
  plain: JobSubmission,
  to: { readonly poolId: string; readonly publicKey: Uint8Array },
): Promise<SealedJob> => {
  const { prompt, messages, special, stop, ...open } = plain
  const hpke = suite()
  const recipientPublicKey = await hpke.kem.deserializePublicKey(bytesOf(to.publicKey))
  const sender = await hpke.createSenderContext({ recipientPublicKey, info: infoOf(to.poolId, plain) })
  const box = await sender.seal(
    bytesOf(padded(JSON.stringify({ prompt, messages, special, stop }), block)),
    boundTo(plain),
  )
  const text = (bytes: ArrayBuffer): string => Buffer.from(bytes).toString('base64url')
  return {
    submission: {
      ...open,
      stop: [],
      sealed: { keyId: sealingKeyId(to.publicKey), enc: text(sender.enc), box: text(box) },
    },
    answerSecret: new Uint8Array(await sender.export(bytesOf(exportTag), 32)),
  }
}

/**
 * Opens a sealed submission, on rank 0.
 * @throws MeshError `sealStale` (for another key) | `sealBroken` (changed on its way)
 */
export const openJob = async (
  { pair, publicKey }: SealingPair,
  poolId: string,
  submission: JobSubmission,
): Promise<SealedJob> => {
  const { sealed, ...open } = submission
  if (sealed?.keyId !== sealingKeyId(publicKey)) throw new MeshError('sealStale')
  try {
    const hpke = suite()
    const context = await hpke.createRecipientContext({
      recipientKey: pair,
      enc: bytesOf(Buffer.from(sealed.enc, 'base64url')),
      info: infoOf(poolId, submission),
    })
    const plain = await context.open(bytesOf(Buffer.from(sealed.box, 'base64url')), boundTo(submission))
    const opened: unknown = { ...open, ...(JSON.parse(unpadded(Buffer.from(plain)) ?? '') as object) }
    if (!Value.Check(JobSubmission, opened)) throw new Error('not a submission')
    return { submission: opened, answerSecret: new Uint8Array(await context.export(bytesOf(exportTag), 32)) }
  } catch (error) {
    throw new MeshError('sealBroken', { problem: 'the prompt, or a setting that is bound to it, does not open' }, error)
  }
}
