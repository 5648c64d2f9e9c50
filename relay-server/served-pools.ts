/**
 * The pools that a relay serves. It knows each by its id alone: a member shows the root public key, of which the id is
 * a hash, and its certificate. Members also hand over the newest revocation list; it is kept on disk, so that a restart
 * lets nobody back in.
 */
import { join } from 'node:path'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError, problemOf } from '../shared/errors.ts'
import { readStateJson, writeStateJson } from '../shared/home.ts'
import { fromHex } from '../shared/identity/keys.ts'
import {
  type Certificate,
  checkOwner,
  isRemoved,
  poolIdOf,
  verifyCertificate,
} from '../shared/identity/pool-certificate.ts'
import { readRevocations, removalsOf, replaces, type RevocationList } from '../shared/identity/revocation-list.ts'
import { parsePoolId, shortId } from '../shared/ids.ts'
import { Hex64 } from '../shared/schema/common.ts'
import type { RelayProof } from '../shared/wire/envelope.ts'

const KeptList = Type.Object({ rootPublicKey: Hex64, list: Type.String() })

interface ServedPool {
  rootKey?: Uint8Array
  list?: RevocationList
}

export interface ServedPoolsOptions {
  /** Ids of the pools. */
  readonly pools: readonly string[]
  /** Folder for revocation lists. */
  readonly folder: string
  readonly now: () => number
}

export class ServedPools {
  readonly #pools: ReadonlyMap<string, ServedPool>
  readonly #folder: string
  readonly #now: () => number

  /**
   * @throws MeshError `usage` (no id of a pool) | `stateUnreadable` (a damaged list: without it a removed device would
   * be let in)
   */
  constructor({ pools, folder, now }: ServedPoolsOptions) {
    this.#folder = folder
    this.#now = now
    this.#pools = new Map(
      pools.map((text): [string, ServedPool] => {
        const poolId = servedPoolId(text)
        return [poolId, this.#read(poolId)]
      }),
    )
  }

  get ids(): string[] {
    return [...this.#pools.keys()]
  }

  /** Number of the revocation list that is held; 0: none. */
  listNumber(poolId: string): number {
    return this.#pools.get(poolId)?.list?.number ?? 0
  }

  /** True for a device that was removed, or that an admin let in who was. */
  isRemoved(certificate: Certificate): boolean {
    return isRemoved(certificate, removalsOf(this.#pools.get(certificate.poolId)?.list))
  }

  /**
   * Checks what a device shows.
   * @param deviceId the device whose key the connection proved
   * @throws MeshError `relayPoolNotServed` | `poolKeyMismatch` | `certificateInvalid` | `certificateExpired` |
   * `memberRemoved`
   */
  check(deviceId: string | undefined, { poolId, rootPublicKey, certificate: text }: RelayProof): Certificate {
    const pool = this.#pools.get(poolId)
    if (pool === undefined) throw new MeshError('relayPoolNotServed', { relay: 'this one', poolId })
    const rootKey = fromHex(rootPublicKey, 32, 'root public key')
    if (poolIdOf(rootKey) !== poolId) throw new MeshError('poolKeyMismatch', { poolId: shortId(poolId) })
    const certificate = verifyCertificate(text, rootKey, this.#now(), removalsOf(pool.list))
    checkOwner(certificate, deviceId)
    pool.rootKey = rootKey
    return certificate
  }

  /**
   * A member handed over a list.
   * @returns whether it replaces the one that is held;
   * @throws MeshError `revocationsInvalid` | `stateUnwritable`
   */
  accept(poolId: string, text: string): boolean {
    const pool = this.#pools.get(poolId)
    if (pool?.rootKey === undefined) return false
    const list = readRevocations(text, pool.rootKey, this.#now())
    if (!replaces(list, pool.list)) return false
    writeStateJson(this.#fileOf(poolId), { rootPublicKey: Buffer.from(pool.rootKey).toString('hex'), list: text })
    pool.list = list
    return true
  }

  #fileOf(poolId: string): string {
    return join(this.#folder, `${poolId}.json`)
  }

  #read(poolId: string): ServedPool {
    const file = this.#fileOf(poolId)
    const kept = readStateJson(file)
    if (kept === undefined) return {}
    try {
      if (!Value.Check(KeptList, kept)) throw new Error('it is not a revocation list')
      const rootKey = fromHex(kept.rootPublicKey, 32, 'root public key')
      if (poolIdOf(rootKey) !== poolId) throw new Error('it belongs to another pool')
      return { rootKey, list: readRevocations(kept.list, rootKey, this.#now()) }
    } catch (error) {
      throw new MeshError('stateUnreadable', { file, problem: problemOf(error) }, error)
    }
  }
}

/** @throws MeshError `usage` */
const servedPoolId = (text: string): string => {
  try {
    return parsePoolId(text.trim().toLowerCase())
  } catch (error) {
    throw new MeshError(
      'usage',
      { problem: `--pool wants the id of a pool (64 hex digits, from mesh pool-list), got "${text.slice(0, 80)}"` },
      error,
    )
  }
}
