/** Pools, their members and those who ask to join. */
import { and, asc, count, eq, isNotNull, isNull, lt } from 'drizzle-orm'
import type { Certificate } from '../../shared/identity/pool-certificate.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { InviteProof, PoolCreation, Role } from '../../shared/schema/pool.ts'
import type { OpenRequest } from '../domain/join-request.ts'
import type { Store, Transaction } from './database.ts'
import { devices, joinRequests, memberships, networks, pools } from './tables.ts'

export interface StoredPool {
  readonly poolId: string
  readonly networkId: string
  readonly name: string
  readonly rootPublicKey: string
  readonly charter: string | null
  readonly createdAt: number
}

export interface StoredMember {
  readonly deviceId: string
  readonly name: string
  readonly role: Role
  readonly certificate: string
  readonly notAfter: number
  readonly lastSeenAt: number
}

/** How long a device can read why it was denied. */
const keepDeniedMs = 86400e3

export class PoolStore {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /**
   * Publishes a pool with its maker's certificate; repeating it changes nothing but name and certificate: what it was
   * made to be stays.
   */
  create({ certificate: text, ...pool }: PoolCreation, certificate: Certificate, now: number): void {
    this.#store.transaction((tx) => {
      const known = tx.select({ name: pools.name }).from(pools).where(eq(pools.poolId, pool.poolId)).get()
      const isMember = and(eq(memberships.poolId, pool.poolId), eq(memberships.deviceId, certificate.deviceId))
      const shown = tx.select({ certificate: memberships.certificate }).from(memberships).where(isMember).get()
      // an agent repeats it whenever it comes back, also while nothing can be written
      if (known?.name === pool.name && shown?.certificate === text) return
      tx.insert(networks).values({ networkId: pool.networkId, createdAt: now }).onConflictDoNothing().run()
      tx.insert(pools)
        .values({ ...pool, createdAt: now })
        .onConflictDoUpdate({ target: pools.poolId, set: { name: pool.name } })
        .run()
      saveMembership(tx, text, certificate)
    })
  }

  find(poolId: string): StoredPool | undefined {
    return this.#store.select().from(pools).where(eq(pools.poolId, poolId)).get()
  }

  ofDevice(deviceId: string): StoredPool[] {
    return this.#store
      .select({ pool: pools })
      .from(memberships)
      .innerJoin(pools, eq(pools.poolId, memberships.poolId))
      .where(eq(memberships.deviceId, deviceId))
      .orderBy(asc(pools.createdAt))
      .all()
      .map(({ pool }) => pool)
  }

  members(poolId: string): StoredMember[] {
    return this.#store
      .select({
        deviceId: memberships.deviceId,
        name: devices.name,
        role: memberships.role,
        certificate: memberships.certificate,
        notAfter: memberships.notAfter,
        lastSeenAt: devices.lastSeenAt,
      })
      .from(memberships)
      .innerJoin(devices, eq(devices.deviceId, memberships.deviceId))
      .where(eq(memberships.poolId, poolId))
      .orderBy(asc(devices.createdAt))
      .all()
  }

  /** The newest certificate of a device, valid or not. */
  membership(
    poolId: string,
    deviceId: string,
  ): { readonly certificate: string; readonly notAfter: number } | undefined {
    return this.#store
      .select({ certificate: memberships.certificate, notAfter: memberships.notAfter })
      .from(memberships)
      .where(and(eq(memberships.poolId, poolId), eq(memberships.deviceId, deviceId)))
      .get()
  }

  removeMember(poolId: string, deviceId: string): void {
    this.#store
      .delete(memberships)
      .where(and(eq(memberships.poolId, poolId), eq(memberships.deviceId, deviceId)))
      .run()
  }

  /** Stores a verified certificate and answers the request it belongs to. */
  publish(text: string, certificate: Certificate): void {
    this.#store.transaction((tx) => saveMembership(tx, text, certificate))
  }

  /** Asks, or asks again: with another invite, or after a denial. */
  request(
    poolId: string,
    deviceId: string,
    { invite = null, now }: { readonly invite?: InviteProof | null; readonly now: number },
  ): void {
    this.#store.transaction((tx) => {
      tx.delete(joinRequests)
        .where(
          and(
            eq(joinRequests.poolId, poolId),
            isNotNull(joinRequests.denied),
            lt(joinRequests.createdAt, now - keepDeniedMs),
          ),
        )
        .run()
      tx.insert(joinRequests)
        .values({ poolId, deviceId, createdAt: now, invite })
        .onConflictDoUpdate({
          target: [joinRequests.poolId, joinRequests.deviceId],
          set: { createdAt: now, invite, denied: null },
        })
        .run()
    })
  }

  /** @returns false when there is no such request */
  deny(poolId: string, deviceId: string, denied: ErrorReportJson): boolean {
    return (
      this.#store
        .update(joinRequests)
        .set({ denied })
        .where(and(eq(joinRequests.poolId, poolId), eq(joinRequests.deviceId, deviceId)))
        .run().changes > 0
    )
  }

  /** The request of one device, denied or not. */
  requestOf(poolId: string, deviceId: string): OpenRequest | undefined {
    return this.#requests()
      .where(and(eq(joinRequests.poolId, poolId), eq(joinRequests.deviceId, deviceId)))
      .get()
  }

  /** Requests that wait, oldest first. */
  requests(poolId: string): OpenRequest[] {
    return this.#requests()
      .where(and(eq(joinRequests.poolId, poolId), isNull(joinRequests.denied)))
      .orderBy(asc(joinRequests.createdAt))
      .all()
  }

  countRequests(poolId: string): number {
    return (
      this.#store.select({ count: count() }).from(joinRequests).where(eq(joinRequests.poolId, poolId)).get()?.count ?? 0
    )
  }

  #requests() {
    return this.#store
      .select({
        poolId: joinRequests.poolId,
        deviceId: joinRequests.deviceId,
        name: devices.name,
        createdAt: joinRequests.createdAt,
        invite: joinRequests.invite,
        denied: joinRequests.denied,
      })
      .from(joinRequests)
      .innerJoin(devices, eq(devices.deviceId, joinRequests.deviceId))
  }
}

const saveMembership = (tx: Transaction, text: string, { poolId, deviceId, role, notAfter }: Certificate): void => {
  tx.insert(memberships)
    .values({ poolId, deviceId, role, certificate: text, notAfter })
    .onConflictDoUpdate({
      target: [memberships.poolId, memberships.deviceId],
      set: { role, certificate: text, notAfter },
    })
    .run()
  tx.delete(joinRequests)
    .where(and(eq(joinRequests.poolId, poolId), eq(joinRequests.deviceId, deviceId)))
    .run()
}
