/** Certificates that devices show: checked, remembered, and told to who needs to know. */
import { MeshError } from '../../shared/errors.ts'
import { type Certificate, poolIdIn, verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import type { PoolStore } from '../store/pool-store.ts'
import type { Presence } from './presence.ts'

export interface MembershipsOptions {
  readonly pools: PoolStore
  readonly presence: Presence
  readonly now: () => number
}

export class Memberships {
  readonly #options: MembershipsOptions

  constructor(options: MembershipsOptions) {
    this.#options = options
  }

  /**
   * A device shows its certificate of a pool. One that we have not seen is stored: after the loss of our database the
   * members of a pool are known again as they come.
   * @throws MeshError `notFound` (no such pool here) | `certificateInvalid` | `certificateExpired`
   */
  show(text: string, deviceId: string, poolId: string | undefined = poolIdIn(text)): Certificate {
    const { pools, presence, now } = this.#options
    const pool = poolId === undefined ? undefined : pools.find(poolId)
    if (!pool) throw new MeshError('notFound', { what: 'pool', id: poolId ?? 'of that certificate' })
    const certificate = verifyCertificate(text, Buffer.from(pool.rootPublicKey, 'hex'), now())
    if (certificate.deviceId !== deviceId) throw new MeshError('certificateInvalid', { problem: 'it belongs to another device' })
    const known = pools.membership(pool.poolId, deviceId)
    if (!known || known.notAfter < certificate.notAfter) pools.publish(text, certificate)
    presence.admit(certificate)
    return certificate
  }
}
