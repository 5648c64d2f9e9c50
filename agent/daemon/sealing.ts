/**
 * Sealed prompts at rank 0: the key they are sealed with, opening them, and telling their answers sealed. The key pair
 * is made when the agent starts and lives in its memory alone, so what was sealed before is closed for ever then.
 */
import { MeshError } from '../../shared/errors.ts'
import { type KeyPair, toHex } from '../../shared/identity/keys.ts'
import type { JobSubmission } from '../../shared/schema/job.ts'
import type { RingEpoch } from '../../shared/schema/ring.ts'
import { newSealingPair, openJob, type SealedJob, type SealingPair } from '../../shared/sealed/sealed-job.ts'
import { signSealingKey } from '../../shared/sealed/sealing-key.ts'

/** Prompts that are remembered as run: the newest. A repetition would give whoever sent it nothing but the work. */
const mostSeen = 10_000

export class Sealing {
  readonly #device: KeyPair
  readonly #pair: SealingPair
  readonly #seen = new Set<string>()

  private constructor(device: KeyPair, pair: SealingPair) {
    this.#device = device
    this.#pair = pair
  }

  static async start(device: KeyPair): Promise<Sealing> {
    return new Sealing(device, await newSealingPair())
  }

  /** The key for prompts to a ring, signed, where this device leads its epoch. */
  keyOf({ poolId, ringId, epoch, members }: RingEpoch): string | undefined {
    const leads = members.find(({ rank }) => rank === 0)?.deviceId === toHex(this.#device.publicKey)
    return leads ? signSealingKey(this.#device, { poolId, ringId, epoch }, this.#pair.publicKey) : undefined
  }

  /** @throws MeshError `sealStale` | `sealBroken` (changed on its way, or it was run before) */
  async open(poolId: string, submission: JobSubmission): Promise<SealedJob> {
    const job = await openJob(this.#pair, poolId, submission)
    const enc = submission.sealed?.enc ?? ''
    if (this.#seen.has(enc)) throw new MeshError('sealBroken', { problem: 'the same sealed prompt was run before' })
    this.#seen.add(enc)
    if (this.#seen.size > mostSeen) this.#seen.delete(this.#seen.values().next().value as string)
    return job
  }
}

/** A failure of a sealed job without words that may quote: its kind, numbers, and the name of a device. */
export const withoutWords = ({ code, fields }: MeshError): MeshError =>
  new MeshError(
    code,
    Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [
        name,
        typeof value === 'number' || name === 'peer' ? value : '(not told: the job is sealed)',
      ]),
    ),
  )
