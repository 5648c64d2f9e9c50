/** What this device shows and checks at the gate: certificates of its pools, and who was removed from them. */
import type { PeerId } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import {
  type Certificate,
  checkOwner,
  isRemoved,
  type Removals,
  verifyCertificate,
} from '../../shared/identity/pool-certificate.ts'
import { shortId } from '../../shared/ids.ts'
import { deviceIdOfPeer } from './peer-id.ts'

/** The pools of this device. */
export interface PoolDirectory {
  /** 32 bytes; `undefined` for a pool that this device is not in. */
  rootKeyOf(poolId: string): Uint8Array | undefined
  certificateOf(poolId: string): string | undefined
  /** Who was removed, and the number of the list that says so. Absent: nobody. */
  removalsOf?(poolId: string): Removals & { readonly number: number }
}

export class PoolPapers {
  readonly #directory: PoolDirectory
  readonly #now: () => number

  constructor(directory: PoolDirectory, now: () => number) {
    this.#directory = directory
    this.#now = now
  }

  /** What this device shows. @throws MeshError `poolUnknown` */
  own(poolId: string): { readonly certificate: string; readonly revocations: number } {
    const certificate = this.#directory.certificateOf(poolId)
    if (certificate === undefined) throw new MeshError('poolUnknown', { poolId })
    return { certificate, revocations: this.#directory.removalsOf?.(poolId).number ?? 0 }
  }

  /** What a peer shows. @throws MeshError `notMember` | `certificateInvalid` | `certificateExpired` | `memberRemoved` */
  check(peer: PeerId, poolId: string, text: string): Certificate {
    const rootKey = this.#directory.rootKeyOf(poolId)
    const device = deviceIdOfPeer(peer)
    if (rootKey === undefined || device === undefined)
      throw new MeshError('notMember', { deviceId: shortId(device ?? peer.toString()), poolId: shortId(poolId) })
    const certificate = verifyCertificate(text, rootKey, this.#now(), this.#directory.removalsOf?.(poolId))
    checkOwner(certificate, device)
    return certificate
  }

  /** Before anything is shown to it. @throws MeshError `memberRemoved` */
  checkNotRemoved(peer: PeerId, poolId: string): void {
    const device = deviceIdOfPeer(peer)
    if (device !== undefined && this.#directory.removalsOf?.(poolId).has(device))
      throw new MeshError('memberRemoved', { deviceId: shortId(device), poolId: shortId(poolId) })
  }

  /** Its device is on the list of now, or the admin that let it in is. */
  isRemoved(certificate: Certificate): boolean {
    const removals = this.#directory.removalsOf?.(certificate.poolId)
    return removals !== undefined && isRemoved(certificate, removals)
  }
}
