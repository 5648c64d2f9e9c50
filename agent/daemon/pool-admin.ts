/** What the agent of an admin does for its pools: lets in who holds an invite of it, and renews its own certificate. */
import type { Client } from '../../shared/api/client.ts'
import type { Home } from '../../shared/home.ts'
import { MeshError } from '../../shared/errors.ts'
import type { KeyPair } from '../../shared/identity/keys.ts'
import { certificateLifetimeMs, issueCertificate, type Signer, verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import { type DeviceId, parseDeviceId, shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { JoinRequest, Role } from '../../shared/schema/pool.ts'
import { takeInvite } from '../device/invites.ts'
import { findPool, type LocalPool, savePool, signerOf } from '../device/pools.ts'

export interface PoolAdminOptions {
  readonly home: Home
  /** Of this device. */
  readonly key: KeyPair
  readonly client: Client
  readonly logger: Logger
  readonly now: () => number
}

/** Failures of the device that asks; it is told. Others (a full disk) are ours, and it may ask again. */
const refusals = new Set(['inviteInvalid', 'inviteExpired', 'inviteUsed'])

/**
 * A device asks to join. With an invite that this device made, it gets a certificate, or is told why not; without
 * one, a person decides: `mesh pool-approve`.
 */
export const answerJoinRequest = async (options: PoolAdminOptions, request: JoinRequest): Promise<void> => {
  const { home, key, client, logger, now } = options
  const pool = findPool(home, request.poolId)
  const signer = pool && signerOf(pool, key)
  if (!pool || !signer) return
  if (!request.invite) return logger.info({ pool: pool.name, device: request.deviceId }, `${request.name} (${shortId(request.deviceId)}) asks to join pool ${pool.name}: mesh pool-approve --device ${shortId(request.deviceId)}`)
  try {
    const role = takeInvite(home, pool.poolId, request.invite, { deviceId: request.deviceId, now: now() })
    if (role !== undefined) await admit(options, { pool, signer, request, role })
  } catch (error) {
    const failure = MeshError.from(error)
    if (!refusals.has(failure.code)) throw failure
    await client.call('denyJoin', { params: { poolId: pool.poolId }, body: { deviceId: request.deviceId, error: failure.toReport() } })
    logger.warn({ pool: pool.name, device: request.deviceId, code: failure.code }, `${request.name} (${shortId(request.deviceId)}) was not let into pool ${pool.name}: ${failure.message}`)
  }
}

interface Admission {
  readonly pool: LocalPool
  readonly signer: Signer
  readonly request: JoinRequest
  readonly role: Role
}

const admit = async ({ client, logger, now }: PoolAdminOptions, { pool, signer, request, role }: Admission): Promise<void> => {
  const certificate = issueCertificate(signer, { deviceId: parseDeviceId(request.deviceId), role }, now())
  await client.call('publishCertificate', { params: { poolId: pool.poolId }, body: { certificate } })
  logger.info({ pool: pool.name, device: request.deviceId }, `${request.name} (${shortId(request.deviceId)}) joined pool ${pool.name} by invite`)
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
