/**
 * Keeps the memberships of this device: certificates are renewed well before they end, revocation lists are taken from
 * whoever has a newer one and passed on, and the gate is told of both.
 */
import type { AgentMessage } from '../../shared/api/messages.ts'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import {
  type Certificate,
  issueCertificate,
  verifyCertificate,
  verifyForRenewal,
} from '../../shared/identity/pool-certificate.ts'
import { removalsOf } from '../../shared/identity/revocation-list.ts'
import { type DeviceId, shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import { findPool, listPools, type LocalPool, savePool } from '../device/pools.ts'
import type { Revocations } from '../device/revocations.ts'
import type { Gate } from '../network/gate.ts'
import type { PoolDirectory } from '../network/pool-papers.ts'
import type { Connection } from '../network/pool-peers.ts'
import type { RenewalExchange } from '../network/renewal-exchange.ts'
import type { Credential } from '../network/relay-proof.ts'
import type { RevocationSpread } from '../network/revocation-spread.ts'
import type { PoolWatch } from './pool-watch.ts'

export interface MembershipOptions {
  readonly home: Home
  /** Certificates want renewing, and commands write revocation lists: both are looked for in the pools of the home. */
  readonly watch: PoolWatch
  readonly deviceId: DeviceId
  readonly revocations: Revocations
  readonly gate: Gate
  readonly spread: RevocationSpread
  readonly renewals: RenewalExchange
  readonly now: () => number
  readonly logger: Logger
  send(message: AgentMessage): void
  /** Our certificates changed: the control plane shall see the new ones. */
  onRenewed(): void
}

/** A renewal that nobody answered is asked for again after this time. */
const askAgainMs = 60_000

/** The pools of a home, as the gate sees them. */
export const poolDirectory = (home: Home, revocations: Revocations): PoolDirectory => ({
  rootKeyOf: (poolId) => bytesOf(findPool(home, poolId)?.rootPublicKey),
  certificateOf: (poolId) => findPool(home, poolId)?.certificate,
  removalsOf: (poolId) => {
    const list = revocations.listOf(poolId)
    return { number: list?.number ?? 0, has: removalsOf(list).has }
  },
})

/** What relays are shown of the pools of a home. */
export const credentialsOf = (home: Home, revocations: Revocations): Credential[] =>
  listPools(home).map(({ poolId, rootPublicKey, certificate }) => ({
    poolId,
    rootPublicKey,
    certificate,
    list: revocations.listOf(poolId),
  }))

const bytesOf = (hex: string | undefined): Uint8Array | undefined =>
  hex === undefined ? undefined : new Uint8Array(Buffer.from(hex, 'hex'))

/** Half of its time is over. */
const isDue = ({ notBefore, notAfter }: Certificate, now: number): boolean => now >= (notBefore + notAfter) / 2

/** What a pool's certificate says, valid or not any more; `undefined` when nobody would renew it. */
const ownCertificate = (pool: LocalPool, now: number): Certificate | undefined => {
  try {
    return verifyForRenewal(pool.certificate, Buffer.from(pool.rootPublicKey, 'hex'), now, { has: () => false })
  } catch (error) {
    if (error instanceof MeshError) return undefined
    throw error
  }
}

/** Renews our certificate of a pool whose root key is here, once half of its time is over. @returns whether it did */
export const renewByRootKey = (home: Home, pool: LocalPool, deviceId: DeviceId, now: number): boolean => {
  const certificate = pool.rootKey && ownCertificate(pool, now)
  if (!pool.rootKey || (certificate && !isDue(certificate, now))) return false
  savePool(home, {
    ...pool,
    role: 'admin',
    certificate: issueCertificate(pool.rootKey, { deviceId, role: 'admin' }, now),
  })
  return true
}

export class Membership {
  readonly #options: MembershipOptions
  readonly #askedAt = new Map<string, number>()
  /** Number of the list that the gate has seen, by pool. */
  readonly #applied = new Map<string, number>()

  constructor(options: MembershipOptions) {
    this.#options = options
    options.watch.onLook((pools) => this.#see(pools))
  }

  /** A member showed its certificate at the gate. What nobody answered before, an admin is asked at once. */
  met(connection: Connection, poolId: string): void {
    if (this.#options.gate.adminsOf(poolId).includes(connection) && this.#askedAt.delete(poolId))
      this.#options.watch.look()
  }

  /** The control plane is there again: what was asked before may be lost. */
  connected(): void {
    this.#askedAt.clear()
    this.#options.watch.look()
  }

  #see(pools: readonly LocalPool[]): void {
    for (const pool of pools) {
      this.#applyList(pool)
      this.#renew(pool)
    }
  }

  /** A list came in, from a member or from the control plane. @throws MeshError `revocationsInvalid` */
  receiveList(poolId: string, text: string): void {
    const { home, revocations } = this.#options
    revocations.accept(poolId, text)
    const pool = findPool(home, poolId)
    if (pool) this.#applyList(pool) // a command of this device may have written the same list a moment ago
  }

  /** An admin signed a new certificate for this device. @returns whether it was taken; @throws MeshError certificate errors */
  receiveCertificate(poolId: string, text: string): boolean {
    const { home, deviceId, revocations, gate, now, logger, onRenewed } = this.#options
    const pool = findPool(home, poolId)
    if (!pool || pool.certificate === text) return false
    const certificate = verifyCertificate(
      text,
      Buffer.from(pool.rootPublicKey, 'hex'),
      now(),
      removalsOf(revocations.listOf(poolId)),
    )
    const held = ownCertificate(pool, now())
    if (
      certificate.deviceId !== deviceId ||
      (held &&
        held.role === certificate.role &&
        held.signedBy === certificate.signedBy &&
        held.notAfter >= certificate.notAfter)
    )
      return false
    savePool(home, { ...pool, role: certificate.role, certificate: text })
    logger.info({ pool: pool.name, notAfter: certificate.notAfter }, `membership of pool ${pool.name} renewed`)
    gate.refresh(poolId)
    onRenewed()
    return true
  }

  #applyList({ poolId, name }: LocalPool): void {
    const { deviceId, revocations, gate, spread, logger } = this.#options
    const list = revocations.listOf(poolId)
    if (!list || this.#applied.get(poolId) === list.number) return
    this.#applied.set(poolId, list.number)
    if (list.removed.has(deviceId)) logger.error({ pool: name }, `this device was removed from pool ${name}`)
    else logger.info({ pool: name, number: list.number, devices: list.removed.size }, 'revocation list')
    gate.recheck(poolId)
    spread.spread(poolId)
  }

  #renew(pool: LocalPool): void {
    const { home, deviceId, revocations, gate, now, onRenewed } = this.#options
    const { poolId } = pool
    if (pool.rootKey) {
      if (!renewByRootKey(home, pool, deviceId, now())) return
      gate.refresh(poolId)
      return onRenewed()
    }
    const certificate = ownCertificate(pool, now())
    if (!certificate || !isDue(certificate, now()) || revocations.listOf(poolId)?.removed.has(deviceId)) return
    if (now() - (this.#askedAt.get(poolId) ?? -Infinity) < askAgainMs) return
    this.#askedAt.set(poolId, now())
    this.#options.logger.info(
      { pool: shortId(poolId) },
      `asking the admins of pool ${pool.name} to renew the membership`,
    )
    void this.#ask(pool)
  }

  /** Admins that are connected, one after the other; when none of them signs, those that the control plane reaches. */
  async #ask({ poolId, certificate }: LocalPool): Promise<void> {
    const { gate, renewals, logger, send } = this.#options
    for (const connection of gate.adminsOf(poolId)) {
      try {
        if (this.receiveCertificate(poolId, await renewals.ask(connection, { poolId, certificate }))) return
      } catch (error) {
        logger.debug(
          { pool: shortId(poolId), peer: connection.remotePeer.toString(), problem: problemOf(error) },
          'not renewed by an admin that is connected',
        )
      }
    }
    send({ type: 'renew', certificate })
  }
}
