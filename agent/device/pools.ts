/**
 * Pools of this device as its home folder holds them: one folder each, with certificate and (for its maker) root key.
 */
import { readdirSync } from 'node:fs'
import { Type } from 'typebox'
import { MeshError, problemOf, systemCodeOf } from '../../shared/errors.ts'
import { type Home, readState, writeState, writeStateJson } from '../../shared/home.ts'
import { loadKey, saveKey } from '../../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { readCharter, signCharter } from '../../shared/identity/pool-charter.ts'
import { issueCertificate, poolIdOf, type Signer } from '../../shared/identity/pool-certificate.ts'
import {
  type ByDigits,
  type DeviceId,
  type PoolId,
  parseDigits,
  parsePoolId,
  selectByDigits,
  shortId,
} from '../../shared/ids.ts'
import { Hex64, Name } from '../../shared/schema/common.ts'
import { CharterText, Role } from '../../shared/schema/pool.ts'
import { readChecked } from './checked-state.ts'

const PoolConfig = Type.Object({
  poolId: Hex64,
  name: Name,
  rootPublicKey: Hex64,
  role: Role,
  charter: Type.Optional(CharterText),
})

export interface LocalPool {
  readonly poolId: PoolId
  readonly name: string
  /** 64 hex digits. */
  readonly rootPublicKey: string
  readonly role: Role
  /** Text form of the membership certificate; it may have expired since. */
  readonly certificate: string
  /** What the pool was made to be, as this device saw it when it joined; absent: it was made without. */
  readonly charter?: string
  /** Signing key of the pool, on the device that made it. */
  readonly rootKey?: KeyPair
}

/**
 * What this device signs with for the pool: the root key where it is, else its own key as an admin; nothing for a
 * member.
 */
export const signerOf = ({ rootKey, role, certificate }: LocalPool, key: KeyPair): Signer | undefined =>
  rootKey ?? (role === 'admin' ? { key, certificate } : undefined)

/** @throws MeshError `notAdmin` */
export const needSigner = (pool: LocalPool, key: KeyPair): Signer => {
  const signer = signerOf(pool, key)
  if (signer === undefined) throw new MeshError('notAdmin', { poolId: shortId(pool.poolId) })
  return signer
}

/** One pool of this device, or `undefined`. @throws MeshError `stateUnreadable` */
export const findPool = (home: Home, poolId: string): LocalPool | undefined => {
  const files = home.pool(poolId)
  const config = readChecked(files.config, PoolConfig)
  const certificate = readState(files.certificate)?.toString('utf8').trim()
  if (config === undefined || certificate === undefined) return undefined
  return { ...config, poolId: parsePoolId(config.poolId), certificate, rootKey: loadKey(files.rootKey) }
}

/** All pools of this device, by name. @throws MeshError `stateUnreadable` */
export const listPools = (home: Home): LocalPool[] => {
  let names: string[]
  try {
    names = readdirSync(home.pools)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return []
    throw new MeshError('stateUnreadable', { file: home.pools, problem: problemOf(error) }, error)
  }
  const pools = names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => findPool(home, name))
  return pools
    .filter((pool) => pool !== undefined)
    .toSorted((a, b) => a.name.localeCompare(b.name) || a.poolId.localeCompare(b.poolId))
}

/** How `--pool-id` names a pool. */
export const poolByDigits: ByDigits = { flag: '--pool-id', noun: 'pool', list: 'mesh pool-list' }

/**
 * The pool a command means: the named one (the first digits of its id do), or the only one.
 * @throws MeshError `poolUnknown` | `noPool` | `usage` (no digits, or several pools and none or too little named)
 */
export const selectPool = (home: Home, poolId?: string): LocalPool => {
  if (poolId !== undefined) {
    const digits = parseDigits(poolId, poolByDigits)
    // a whole id: what else lies there does not matter, damaged or not
    const named =
      digits.length === 64
        ? findPool(home, digits)
        : selectByDigits(listPools(home), (pool) => pool.poolId, digits, poolByDigits)
    if (named === undefined) throw new MeshError('poolUnknown', { poolId: digits })
    return named
  }
  const pools = listPools(home)
  if (pools.length === 0) throw new MeshError('noPool')
  if (pools.length > 1) {
    throw new MeshError('usage', {
      problem:
        `this device is in ${pools.length} pools; name one with --pool-id ` +
        `(${pools.map((pool) => `${pool.name}: ${shortId(pool.poolId)}`).join(', ')})`,
    })
  }
  return pools[0]
}

/** Whether admins read the text of all jobs of a pool, as this device knows it. @throws MeshError `charterInvalid` */
export const adminsReadText = ({ charter, rootPublicKey }: Pick<LocalPool, 'charter' | 'rootPublicKey'>): boolean =>
  readCharter(charter, Buffer.from(rootPublicKey, 'hex')).adminsReadText

/** Who reads prompts and answers, in words. */
export const readersText = (isForAdmins: boolean): string =>
  isForAdmins
    ? 'who submitted them, and the admins of the pool: so it was made'
    : 'who submitted them, and nobody else of the pool'

/**
 * Whether admins read the text of all jobs, by what the control plane shows and what this device saw when it joined.
 * @throws MeshError `charterInvalid` | `charterChanged` (the control plane lets more people read than the pool was made
 * for)
 */
export const checkTerms = (
  local: Pick<LocalPool, 'poolId' | 'charter' | 'rootPublicKey'>,
  shown: { readonly charter?: string },
): boolean => {
  const before = adminsReadText(local)
  const now = adminsReadText({ ...local, charter: shown.charter })
  if (now && !before)
    throw new MeshError('charterChanged', {
      poolId: shortId(local.poolId),
      before: `for ${readersText(before)}`,
      now: readersText(now),
    })
  return before
}

/**
 * Makes a pool, its root key and our own certificate as its admin.
 * @param wanted its name, and what it is made to be, for good
 * @throws MeshError `stateUnwritable`
 */
export const createPool = (
  home: Home,
  deviceId: DeviceId,
  wanted: string | { readonly name: string; readonly adminsReadText: boolean },
  now: number,
): LocalPool => {
  const { name, ...terms } = typeof wanted === 'string' ? { name: wanted, adminsReadText: false } : wanted
  const rootKey = newKeyPair()
  const pool: LocalPool = {
    poolId: poolIdOf(rootKey.publicKey),
    name,
    rootPublicKey: toHex(rootKey.publicKey),
    role: 'admin',
    certificate: issueCertificate(rootKey, { deviceId, role: 'admin' }, now),
    ...(terms.adminsReadText ? { charter: signCharter(rootKey, terms) } : {}),
    rootKey,
  }
  savePool(home, pool)
  return pool
}

/**
 * Writes a pool; the certificate last, so that a pool without one does not exist.
 * @throws MeshError `stateUnwritable`
 */
export const savePool = (home: Home, pool: LocalPool): void => {
  const files = home.pool(pool.poolId)
  if (pool.rootKey !== undefined) saveKey(files.rootKey, pool.rootKey)
  writeStateJson(files.config, {
    poolId: pool.poolId,
    name: pool.name,
    rootPublicKey: pool.rootPublicKey,
    role: pool.role,
    ...(pool.charter === undefined ? {} : { charter: pool.charter }),
  })
  writeState(files.certificate, `${pool.certificate}\n`)
}
