/** What the agent of an admin does for its pools: lets in who holds an invite of it, and renews certificates. */
import type { Client } from '../../shared/api/client.ts'
import type { Home } from '../../shared/home.ts'
import { MeshError } from '../../shared/errors.ts'
import type { KeyPair } from '../../shared/identity/keys.ts'
import {
  certificateLifetimeMs,
  checkOwner,
  issueCertificate,
  type Signer,
  verifyForRenewal,
} from '../../shared/identity/pool-certificate.ts'
import { parseDeviceId, shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { JoinRequest, Role } from '../../shared/schema/pool.ts'
import type { RenewalRequest } from '../../shared/wire/envelope.ts'
import { takeInvite } from '../device/invites.ts'
import { findPool, type LocalPool, signerOf } from '../device/pools.ts'
import type { Revocations } from '../device/revocations.ts'
import { removalsOf } from '../../shared/identity/revocation-list.ts'

export interface PoolAdminOptions {
  readonly home: Home
  /** Of this device. */
  readonly key: KeyPair
  readonly client: Client
  readonly revocations: Revocations
  readonly logger: Logger
  readonly now: () => number
  /** Requests that are being answered, and whether they led to a certificate. */
  readonly answering: Map<string, Promise<boolean>>
}

/** Failures of the device that asks; it is told. Others (a full disk) are ours, and it may ask again. */
const refusals = new Set(['inviteInvalid', 'inviteExpired', 'inviteUsed', 'memberRemoved'])

/**
 * A device asks to join. With an invite that this device made, it gets a certificate, or is told why not; without
 * one, a person decides: `mesh pool-approve`. A request that comes twice at a time, because it was repeated or the
 * control plane was away, gets one certificate.
 */
export const answerJoinRequest = async (options: PoolAdminOptions, request: JoinRequest): Promise<void> => {
  const { answering } = options
  const id = [request.poolId, request.deviceId, request.invite?.inviteId].join()
  if (await answering.get(id)?.catch(() => false)) return
  const answer = answerOnce(options, request)
  answering.set(id, answer)
  try {
    await answer
  } finally {
    if (answering.get(id) === answer) answering.delete(id)
  }
}

/** @returns whether the device got a certificate */
const answerOnce = async (options: PoolAdminOptions, request: JoinRequest): Promise<boolean> => {
  const { home, key, client, revocations, logger, now } = options
  const pool = findPool(home, request.poolId)
  const signer = pool && signerOf(pool, key)
  if (!pool || !signer) return false
  if (!request.invite) {
    logger.info(
      { pool: pool.name, device: request.deviceId },
      `${request.name} (${shortId(request.deviceId)}) asks to join pool ${pool.name}: ` +
        `mesh pool-approve --device ${shortId(request.deviceId)}`,
    )
    return false
  }
  try {
    // an invite is for devices that we have no opinion of: one that was removed comes back by hand only
    if (revocations.listOf(pool.poolId)?.removed.has(parseDeviceId(request.deviceId)))
      throw new MeshError('memberRemoved', { deviceId: shortId(request.deviceId), poolId: shortId(pool.poolId) })
    const role = takeInvite(home, pool.poolId, request.invite, { deviceId: request.deviceId, now: now() })
    if (role === undefined) return false
    await admit(options, { pool, signer, request, role })
    return true
  } catch (error) {
    const failure = MeshError.from(error)
    if (!refusals.has(failure.code)) throw failure
    await client.call('denyJoin', {
      params: { poolId: pool.poolId },
      body: { deviceId: request.deviceId, error: failure.toReport() },
    })
    logger.warn(
      { pool: pool.name, device: request.deviceId, code: failure.code },
      `${request.name} (${shortId(request.deviceId)}) was not let into pool ${pool.name}: ${failure.message}`,
    )
    return false
  }
}

interface Admission {
  readonly pool: LocalPool
  readonly signer: Signer
  readonly request: JoinRequest
  readonly role: Role
}

const admit = async (
  { client, logger, now }: PoolAdminOptions,
  { pool, signer, request, role }: Admission,
): Promise<void> => {
  const certificate = issueCertificate(signer, { deviceId: parseDeviceId(request.deviceId), role }, now())
  await client.call('publishCertificate', { params: { poolId: pool.poolId }, body: { certificate } })
  logger.info(
    { pool: pool.name, device: request.deviceId },
    `${request.name} (${shortId(request.deviceId)}) joined pool ${pool.name} by invite`,
  )
}

/** A certificate with more of its time left than this is not renewed: nobody can make us sign without end. */
const renewBelowMs = 0.75 * certificateLifetimeMs

const unrenewed = (problem: string): MeshError => new MeshError('renewalRefused', { problem })

/**
 * Signs a new certificate in place of the one that a member shows, which is checked here: whoever passes it on is not
 * trusted with that. The root key alone signs for admins, so another admin leaves those to it.
 * @param asker the device that asks, where it proved who it is
 * @returns text of the new certificate; @throws MeshError `renewalRefused` | as `verifyForRenewal`
 */
export const signRenewal = (
  { home, key, revocations, logger, now }: Omit<PoolAdminOptions, 'client' | 'answering'>,
  { poolId, certificate: text }: RenewalRequest,
  asker?: string,
): string => {
  const pool = findPool(home, poolId)
  const signer = pool && signerOf(pool, key)
  if (!pool || !signer) throw unrenewed('this device is no admin of the pool')
  const old = verifyForRenewal(
    text,
    Buffer.from(pool.rootPublicKey, 'hex'),
    now(),
    removalsOf(revocations.listOf(poolId)),
  )
  if (asker !== undefined) checkOwner(old, asker)
  const { deviceId, role, notAfter } = old
  if (notAfter - now() > renewBelowMs) throw unrenewed('most of its time is still to come')
  if (role === 'admin' && !pool.rootKey) throw unrenewed('the root key alone signs for admins')
  logger.info(
    { pool: pool.name, device: deviceId },
    `renewed the membership of ${shortId(deviceId)} in pool ${pool.name}`,
  )
  return issueCertificate(signer, { deviceId, role }, now())
}

/**
 * The control plane passed on that a member wants its certificate renewed.
 * @throws MeshError as `verifyForRenewal` | those of the client
 */
export const renewMember = async (options: PoolAdminOptions, request: RenewalRequest): Promise<void> => {
  let certificate: string
  try {
    certificate = signRenewal(options, request)
  } catch (error) {
    if (error instanceof MeshError && error.code === 'renewalRefused') return // others may
    throw error
  }
  await options.client.call('publishCertificate', { params: { poolId: request.poolId }, body: { certificate } })
}
