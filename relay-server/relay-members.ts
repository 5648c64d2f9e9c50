/** Devices that proved membership at a relay, while they are connected and their certificates hold. */
import type { PeerId } from '@libp2p/interface'
import { MeshError } from '../shared/errors.ts'
import type { Certificate } from '../shared/identity/pool-certificate.ts'
import { shortId } from '../shared/ids.ts'
import type { Logger } from '../shared/log.ts'
import { longestTimerMs } from '../shared/units.ts'

export interface RelayMembersOptions {
  readonly now: () => number
  readonly logger: Logger
  /** Its device was removed, or the admin that let it in. */
  isRemoved(certificate: Certificate): boolean
  /** A device is no member of one of its pools any more. */
  onExpelled(peer: PeerId, error: MeshError): void
}

interface RelayMember {
  readonly peer: PeerId
  /** By pool. */
  readonly certificates: Map<string, Certificate>
  timer?: NodeJS.Timeout
}

export class RelayMembers {
  readonly #options: RelayMembersOptions
  /** By peer id. */
  readonly #members = new Map<string, RelayMember>()

  constructor(options: RelayMembersOptions) {
    this.#options = options
  }

  has(peerId: string): boolean {
    return this.#members.has(peerId)
  }

  /** Both proved membership of one pool. */
  sharePool(one: string, other: string): boolean {
    const [ours, theirs] = [one, other].map((peerId) => this.#members.get(peerId)?.certificates)
    return ours !== undefined && theirs !== undefined && [...ours.keys()].some((poolId) => theirs.has(poolId))
  }

  /** It showed that certificate, which was checked. */
  admit(peer: PeerId, certificate: Certificate): void {
    const id = peer.toString()
    const member: RelayMember = this.#members.get(id) ?? { peer, certificates: new Map() }
    member.certificates.set(certificate.poolId, certificate)
    this.#members.set(id, member)
    this.#endWithCertificate(member)
  }

  /** A newer list of removals is here. */
  recheck(poolId: string): void {
    for (const member of this.#members.values()) {
      const certificate = member.certificates.get(poolId)
      if (certificate && this.#options.isRemoved(certificate))
        this.#expel(
          member,
          new MeshError('memberRemoved', { deviceId: shortId(certificate.deviceId), poolId: shortId(poolId) }),
        )
    }
  }

  /** It is not connected any more. */
  forget(peer: PeerId): void {
    const member = this.#members.get(peer.toString())
    clearTimeout(member?.timer)
    member?.certificates.clear()
    this.#members.delete(peer.toString())
  }

  stop(): void {
    for (const { timer } of this.#members.values()) clearTimeout(timer)
  }

  /** Looks again when the first certificate ends. */
  #endWithCertificate(member: RelayMember): void {
    clearTimeout(member.timer)
    const { now } = this.#options
    const end = Math.min(...[...member.certificates.values()].map(({ notAfter }) => notAfter))
    member.timer = setTimeout(
      () => {
        for (const { notAfter } of member.certificates.values())
          if (notAfter <= now()) this.#expel(member, new MeshError('certificateExpired', { notAfter }))
        if (member.certificates.size > 0) this.#endWithCertificate(member)
      },
      Math.min(Math.max(0, end - now()), longestTimerMs),
    ).unref()
  }

  /** Circuits do not tell what pool they serve, so all that it proved is over; it may come again for another pool. */
  #expel(member: RelayMember, error: MeshError): void {
    this.#options.logger.info({ peer: member.peer.toString(), code: error.code }, `cut: ${error.message}`)
    this.forget(member.peer)
    this.#options.onExpelled(member.peer, error)
  }
}
