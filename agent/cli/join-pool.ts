/** How a device becomes a member of a pool: it asks, an admin signs, and what was signed is checked here. */
import type { Client } from '../../shared/api/client.ts'
import { controlPlaneAt } from '../../shared/api/contact.ts'
import { checkKey } from '../../shared/api/pinned-tls.ts'
import { MeshError } from '../../shared/errors.ts'
import { decodeInvite, type Invite, inviteProof } from '../../shared/identity/invite.ts'
import { readPin } from '../../shared/identity/control-plane-pin.ts'
import { fromHex, toHex } from '../../shared/identity/keys.ts'
import {
  type Certificate,
  issueCertificate,
  poolIdOf,
  verifyCertificate,
} from '../../shared/identity/pool-certificate.ts'
import { type ControlPlaneId, parseDigits, type PoolId, shortId } from '../../shared/ids.ts'
import type { InviteProof, JoinRequest, Pool } from '../../shared/schema/pool.ts'
import { shownName } from '../../shared/text.ts'
import { limits } from '../../shared/limits.ts'
import { checkServed, registerDevice } from '../device/control-plane.ts'
import { type LocalDevice, readCapabilities } from '../device/device.ts'
import { adminsReadText, findPool, type LocalPool, poolByDigits, readersText, savePool } from '../device/pools.ts'
import type { CommandContext } from './command.ts'
import { openPins } from './pool-pin.ts'
import { checkName, ifReachable, poll } from './session.ts'

/** Milliseconds that one address of an invite gets to answer. */
const findMs = 3000

export interface JoinTarget {
  readonly poolId: PoolId
  readonly rootPublicKey: Uint8Array
  readonly invite?: Invite
}

/** Reads an invite that can still be used. @throws MeshError `inviteInvalid` | `inviteExpired` */
export const inviteTarget = (line: string, now: number): JoinTarget & { readonly invite: Invite } => {
  const invite = decodeInvite(line)
  if (now >= invite.notAfter + limits.clockSkewMs) throw new MeshError('inviteExpired', { notAfter: invite.notAfter })
  return { poolId: invite.poolId, rootPublicKey: invite.rootPublicKey, invite }
}

/** The pool of both flags. @throws MeshError `usage` | `poolKeyMismatch` */
export const namedTarget = (values: { readonly poolId?: string; readonly poolRootPubkey?: string }): JoinTarget => {
  if (values.poolId === undefined || values.poolRootPubkey === undefined)
    throw new MeshError('usage', {
      problem: 'mesh pool-join needs --invite <line>, or --pool-id <hex> and --pool-root-pubkey <hex>',
    })
  const digits = parseDigits(values.poolId, poolByDigits)
  const rootPublicKey = fromHex(values.poolRootPubkey, 32, '--pool-root-pubkey')
  const poolId = poolIdOf(rootPublicKey)
  if (!poolId.startsWith(digits)) throw new MeshError('poolKeyMismatch', { poolId: digits })
  return { poolId, rootPublicKey }
}

/**
 * The first address at which the control plane answers. @param key absent: any
 * @throws MeshError `controlPlaneUnreachable` | `controlPlaneChanged` (only others answer)
 */
export const firstThatAnswers = async (
  { fetch: send, signal }: Pick<CommandContext, 'fetch' | 'signal'>,
  urls: readonly string[],
  key: ControlPlaneId | undefined,
): Promise<string> => {
  let other: MeshError | undefined
  for (const url of urls) {
    signal.throwIfAborted()
    try {
      const got = await controlPlaneAt(url, { fetch: send, signal: AbortSignal.timeout(findMs) })
      checkKey(url, key ?? got, got)
      return url
    } catch (error) {
      if (error instanceof MeshError && error.code === 'controlPlaneChanged') other ??= error
    }
  }
  if (other) throw other
  throw new MeshError('controlPlaneUnreachable', {
    url: urls.join(', ') || 'no address',
    problem: 'none of the addresses of the invite answers',
    look:
      'the machine that made the invite must run mesh up, and this one must be on its network; ' +
      'or ask for a new invite',
  })
}

interface JoinPlan {
  readonly context: CommandContext
  readonly client: Client
  readonly device: LocalDevice
  readonly target: JoinTarget
  readonly waitMs: number
}

interface Signed {
  /** What the pool was made to be, if the root key signed anything. */
  readonly charter?: string
  readonly text: string
  readonly certificate: Certificate
}

/** Checks what an admin signed. An expired certificate is from an earlier time: the admin is still to answer. */
const membershipIn = ({ target, device, context }: JoinPlan, request: JoinRequest): Signed | undefined => {
  if (request.error !== undefined) throw MeshError.fromReport(request.error)
  if (request.certificate === undefined) return undefined
  try {
    const certificate = verifyCertificate(request.certificate, target.rootPublicKey, context.now())
    if (certificate.deviceId !== device.deviceId)
      throw new MeshError('certificateInvalid', { problem: `it is for device ${shortId(certificate.deviceId)}` })
    return { text: request.certificate, certificate }
  } catch (error) {
    if (error instanceof MeshError && error.code === 'certificateExpired') return undefined
    throw error
  }
}

const proofOf = ({ invite, poolId }: JoinTarget, { deviceId }: LocalDevice): InviteProof | undefined =>
  invite && {
    inviteId: invite.inviteId,
    proof: inviteProof(invite.secret, { poolId, inviteId: invite.inviteId, deviceId }),
  }

/**
 * What the pool was made to be, told before this device asks to be let in.
 * @throws MeshError `charterInvalid` (not of the root key)
 */
const readTerms = async ({ client, context, target }: JoinPlan): Promise<string | undefined> => {
  const { poolId, rootPublicKey } = target
  const charter = await client.call('getCharter', { params: { poolId } }).then(
    (answer) => answer.charter,
    (error: unknown) => {
      if (error instanceof MeshError && error.code === 'notFound') return undefined // older control planes know none
      throw error
    },
  )
  const isForAdmins = adminsReadText({ charter, rootPublicKey: toHex(rootPublicKey) })
  if (isForAdmins)
    context.stderr.write(`prompts and answers in pool ${shortId(poolId)} are for ${readersText(isForAdmins)}\n`)
  return charter
}

/**
 * What the admins say of the control plane of the pool, if they said it: it must be the one that this device speaks to.
 * @throws MeshError `pinInvalid` | `poolMoved`
 */
const readPlaneOf = async ({
  client,
  context,
  target: { poolId, rootPublicKey },
}: JoinPlan): Promise<string | undefined> => {
  const result = await ifReachable(client.call('getPin', { params: { poolId } }))
  const text = 'answer' in result ? result.answer.pin : undefined
  if (text !== undefined) checkServed(readPin(text, rootPublicKey, context.now()), client.controlPlaneKey)
  return text
}

const obtain = async (plan: JoinPlan): Promise<Signed> => {
  const { client, context, device, target } = plan
  const { poolId } = target
  const own = findPool(context.home, poolId)
  if (own?.rootKey !== undefined) {
    const text = issueCertificate(own.rootKey, { deviceId: device.deviceId, role: 'admin' }, context.now())
    return { text, certificate: verifyCertificate(text, target.rootPublicKey, context.now()), charter: own.charter }
  }
  // the control plane only talks to devices it knows, and it may have come up after `mesh init`
  await registerDevice(client, device, readCapabilities())
  const charter = await readTerms(plan)
  const invite = proofOf(target, device)
  const first = membershipIn(
    plan,
    await client.call('requestJoin', {
      params: { poolId },
      body: { rootPublicKey: toHex(target.rootPublicKey), invite },
    }),
  )
  if (first !== undefined) return { ...first, charter }
  const answer = invite
    ? 'the device that made the invite'
    : `an admin, who runs: mesh pool-approve --device ${shortId(device.deviceId)}`
  context.stderr.write(`asked to join pool ${shortId(poolId)}; waiting for ${answer} ...\n`)
  const found = await poll(async () => membershipIn(plan, await client.call('getJoin', { params: { poolId } })), {
    waitMs: plan.waitMs,
    everyMs: 250,
    context,
  })
  if (found === undefined) throw new MeshError('joinPending', { poolId, seconds: plan.waitMs / 1000 })
  return { ...found, charter }
}

export interface JoinedPool {
  readonly pool: LocalPool
  /** Milliseconds since 1970. */
  readonly notAfter: number
  /** The pool as the control plane has it; absent where that went away meanwhile. */
  readonly published?: Pool
}

/**
 * Asks, waits for the answer, checks it and keeps the membership; a member may repeat it.
 * @param name of the pool on this device; default: the name it has already, or that its maker gave it
 * @throws MeshError of the client | `joinPending` | `joinDenied` | invite and certificate errors
 */
export const joinPool = async (plan: JoinPlan, name?: string): Promise<JoinedPool> => {
  const {
    context,
    client,
    target: { poolId, rootPublicKey },
  } = plan
  const before = findPool(context.home, poolId)
  const { text, certificate, charter } = await obtain(plan)
  const pool: LocalPool = {
    poolId,
    name: checkName('--name', name ?? before?.name ?? shortId(poolId)),
    rootPublicKey: toHex(rootPublicKey),
    role: certificate.role,
    certificate: text,
    charter,
  }
  const pin = await readPlaneOf(plan)
  savePool(context.home, pool)
  if (pin !== undefined) openPins(context).accept(poolId, pin)
  // members alone may ask for the name, so only now
  const result = await ifReachable(client.call('getPool', { params: { poolId } }))
  const published = 'answer' in result ? result.answer : undefined
  const named =
    name === undefined && published !== undefined && published.name !== pool.name
      ? { ...pool, name: shownName(published.name, pool.name) }
      : pool
  if (named !== pool) savePool(context.home, named)
  return { pool: named, notAfter: certificate.notAfter, published }
}
