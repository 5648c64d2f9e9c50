/**
 * Text of jobs as it lies in the database: sealed under a secret that follows from the key of the control plane, so
 * that a copy of the file, or of a disk, tells nobody what was asked and answered.
 *
 * One value: a version byte, a nonce of 12 random bytes, AES-256-GCM ciphertext of its JSON, a tag of 16 bytes. Each
 * job has a key of its own (HMAC-SHA256 of its id), so that random nonces never run out; job, column and number are
 * authenticated along, so that no value can be put in the place of another.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'

/** Where a value belongs. */
export interface TextPlace {
  readonly jobId: string
  readonly column: 'asked' | 'answer' | 'piece'
  /** Of an event. */
  readonly sequence?: number
}

const algorithm = 'aes-256-gcm'
const version = 1
const nonceBytes = 12
const tagBytes = 16
/** Keys of the jobs used last: one is needed for every token. */
const mostKeys = 64

const boundTo = ({ jobId, column, sequence = 0 }: TextPlace): Buffer =>
  Buffer.from(JSON.stringify([version, jobId, column, sequence]))

export class TextVault {
  readonly #secret: Buffer
  readonly #keys = new Map<string, Buffer>()

  /** @param secret 32 bytes */
  constructor(secret: Buffer) {
    if (secret.length !== 32) throw new Error('the secret of the vault has 32 bytes')
    this.#secret = secret
  }

  seal(place: TextPlace, value: unknown): Buffer {
    const nonce = randomBytes(nonceBytes)
    const cipher = createCipheriv(algorithm, this.#keyOf(place.jobId), nonce)
    cipher.setAAD(boundTo(place))
    return Buffer.concat([
      Buffer.of(version),
      nonce,
      cipher.update(JSON.stringify(value), 'utf8'),
      cipher.final(),
      cipher.getAuthTag(),
    ])
  }

  /** @returns `undefined` for what was sealed under another secret, for another place, or is damaged */
  open<T>(place: TextPlace, bytes: Buffer | null): T | undefined {
    if (bytes === null || bytes.length < 1 + nonceBytes + tagBytes || bytes[0] !== version) return undefined
    try {
      const decipher = createDecipheriv(algorithm, this.#keyOf(place.jobId), bytes.subarray(1, 1 + nonceBytes), {
        authTagLength: tagBytes,
      })
      decipher.setAAD(boundTo(place))
      decipher.setAuthTag(bytes.subarray(-tagBytes))
      const plain = Buffer.concat([decipher.update(bytes.subarray(1 + nonceBytes, -tagBytes)), decipher.final()])
      return JSON.parse(plain.toString('utf8')) as T
    } catch {
      return undefined
    }
  }

  #keyOf(jobId: string): Buffer {
    const known = this.#keys.get(jobId)
    if (known) return known
    const key = createHmac('sha256', this.#secret).update(`meshnet job text v1\0${jobId}`).digest()
    if (this.#keys.size >= mostKeys) this.#keys.delete(this.#keys.keys().next().value as string)
    this.#keys.set(jobId, key)
    return key
  }
}
