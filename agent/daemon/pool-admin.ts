/** What the device that made a pool does for it: signs certificates of those who ask, and renews its own. */
import type { Client } from '../../shared/api/client.ts'
import type { Home } from '../../shared/home.ts'
import { MeshError } from '../../shared/errors.ts'
import { certificateLifetimeMs, issueCertificate, verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import { type DeviceId, parseDeviceId, shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { JoinRequest } from '../../shared/schema/pool.ts'
import { findPool, type LocalPool, savePool } from '../device/pools.ts'

export interface PoolAdminOptions {
  readonly home: Home
  readonly client: Client
  readonly logger: Logger
  readonly now: () => number
}

/**
 * Signs a certificate for a device that asked, and publishes it. Whoever knows the pool id and its root public key may
 * join while the maker's agent runs: both are told only to friends.
 */
export const answerJoinRequest = async ({ home, client, logger, now }: PoolAdminOptions, request: JoinRequest): Promise<void> => {
  const pool = findPool(home, request.poolId)
  if (!pool?.rootKey) return
  const certificate = issueCertificate(pool.rootKey, { deviceId: parseDeviceId(request.deviceId), role: 'member' }, now())
  await client.call('publishCertificate', { params: { poolId: pool.poolId }, body: { certificate } })
  logger.info({ pool: pool.name, device: request.deviceId }, `${request.name} (${shortId(request.deviceId)}) joined pool ${pool.name}`)
}

const remainingMs = (pool: LocalPool, now: number): number => {
  try {
    return verifyCertificate(pool.certificate, Buffer.from(pool.rootPublicKey, 'hex'), now).notAfter - now
  } catch (error) {
    if (error instanceof MeshError && error.code === 'certificateExpired') return 0
    throw error
  }
}

/** Renews our own certificate of a pool that we made, once half of its time is over. @returns the pool as it is now */
export const renewOwnCertificate = (home: Home, pool: LocalPool, deviceId: DeviceId, now: number): LocalPool => {
  if (!pool.rootKey || remainingMs(pool, now) > certificateLifetimeMs / 2) return pool
  const renewed = { ...pool, certificate: issueCertificate(pool.rootKey, { deviceId, role: 'admin' }, now) }
  savePool(home, renewed)
  return renewed
}
