import { Type } from 'typebox'
import type { Client } from '../../../shared/api/client.ts'
import { MeshError } from '../../../shared/errors.ts'
import { decodeInvite, type Invite, inviteProof } from '../../../shared/identity/invite.ts'
import { fromHex, toHex } from '../../../shared/identity/keys.ts'
import { type Certificate, issueCertificate, poolIdOf, verifyCertificate } from '../../../shared/identity/pool-certificate.ts'
import { type PoolId, parsePoolId, shortId } from '../../../shared/ids.ts'
import { Hex64, Name, Time } from '../../../shared/schema/common.ts'
import { type InviteProof, type JoinRequest, Role } from '../../../shared/schema/pool.ts'
import { limits } from '../../../shared/wire/limits.ts'
import { createDeviceClient, registerDevice } from '../../device/control-plane.ts'
import { defaultControlPlaneUrl, loadDevice, type LocalDevice, readCapabilities, saveDevice } from '../../device/device.ts'
import { findPool, type LocalPool, savePool } from '../../device/pools.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { fields, validity } from '../render.ts'
import { checkName, ifReachable, openSession, poll } from '../session.ts'

/** Milliseconds that one address of an invite gets to answer. */
const findMs = 3000

interface Wish {
  readonly context: CommandContext
  readonly client: Client
  readonly device: LocalDevice
  readonly poolId: PoolId
  readonly rootPublicKey: Uint8Array
  readonly invite?: InviteProof
  readonly waitMs: number
}

interface Membership {
  readonly text: string
  readonly certificate: Certificate
}

/** Checks what an admin signed. An expired certificate is from an earlier time: the admin is still to answer. */
const membershipIn = (wish: Wish, request: JoinRequest): Membership | undefined => {
  if (request.error !== undefined) throw MeshError.fromReport(request.error)
  if (request.certificate === undefined) return undefined
  try {
    const certificate = verifyCertificate(request.certificate, wish.rootPublicKey, wish.context.now())
    if (certificate.deviceId !== wish.device.deviceId) throw new MeshError('certificateInvalid', { problem: `it is for device ${shortId(certificate.deviceId)}` })
    return { text: request.certificate, certificate }
  } catch (error) {
    if (error instanceof MeshError && error.code === 'certificateExpired') return undefined
    throw error
  }
}

const obtain = async (wish: Wish): Promise<Membership> => {
  const { client, context, device, poolId } = wish
  const own = findPool(context.home, poolId)
  if (own?.rootKey !== undefined) {
    const text = issueCertificate(own.rootKey, { deviceId: device.deviceId, role: 'admin' }, context.now())
    return { text, certificate: verifyCertificate(text, wish.rootPublicKey, context.now()) }
  }
  // the control plane only talks to devices it knows, and it may have come up after `mesh init`
  await registerDevice(client, device, readCapabilities())
  const rootPublicKey = Buffer.from(wish.rootPublicKey).toString('hex')
  const first = membershipIn(wish, await client.call('requestJoin', { params: { poolId }, body: { rootPublicKey, invite: wish.invite } }))
  if (first !== undefined) return first
  const answer = wish.invite ? 'the device that made the invite' : `an admin, who runs: mesh pool-approve --device ${shortId(device.deviceId)}`
  context.stderr.write(`asked to join pool ${shortId(poolId)}; waiting for ${answer} ...\n`)
  const found = await poll(async () => membershipIn(wish, await client.call('getJoin', { params: { poolId } })), { waitMs: wish.waitMs, everyMs: 250, context })
  if (found === undefined) throw new MeshError('joinPending', { poolId, seconds: Number((wish.waitMs / 1000).toFixed(1)) })
  return found
}

/** The first address that answers. @throws MeshError `controlPlaneUnreachable` */
const firstThatAnswers = async (context: CommandContext, device: LocalDevice, urls: readonly string[]): Promise<string> => {
  for (const url of urls) {
    const client = createDeviceClient({ home: context.home, device, url, fetch: context.fetch, now: context.now, timeoutMs: findMs })
    if ('answer' in (await ifReachable(client.call('health', {})))) return url
  }
  throw new MeshError('controlPlaneUnreachable', { url: urls.join(', ') || 'no address', problem: 'none of the addresses of the invite answers' })
}

/** A device that was told of no control plane takes that of the invite, and keeps it. */
const adoptControlPlane = async (context: CommandContext, invite: Invite): Promise<void> => {
  const device = loadDevice(context.home)
  if (device.config.controlPlaneUrl !== defaultControlPlaneUrl) return
  const controlPlaneUrl = await firstThatAnswers(context, device, invite.urls)
  if (controlPlaneUrl !== defaultControlPlaneUrl) saveDevice(context.home, { ...device.config, controlPlaneUrl })
}

interface Target {
  readonly poolId: PoolId
  readonly rootPublicKey: Uint8Array
  readonly invite?: Invite
}

/** Which pool is meant: the one of the invite, or the one of both flags. @throws MeshError `usage` | `poolKeyMismatch` | `inviteInvalid` | `inviteExpired` */
const targetOf = (values: { readonly invite?: string; readonly poolId?: string; readonly poolRootPubkey?: string }, now: number): Target => {
  if (values.invite !== undefined) {
    const invite = decodeInvite(values.invite)
    if (now >= invite.notAfter + limits.clockSkewMs) throw new MeshError('inviteExpired', { notAfter: new Date(invite.notAfter).toISOString() })
    return { ...invite, invite }
  }
  if (values.poolId === undefined || values.poolRootPubkey === undefined) throw new MeshError('usage', { problem: 'mesh pool-join needs --invite <line>, or --pool-id <hex> and --pool-root-pubkey <hex>' })
  const poolId = parsePoolId(values.poolId.toLowerCase())
  const rootPublicKey = fromHex(values.poolRootPubkey, 32, '--pool-root-pubkey')
  if (poolIdOf(rootPublicKey) !== poolId) throw new MeshError('poolKeyMismatch', { poolId })
  return { poolId, rootPublicKey }
}

const proofOf = ({ invite, poolId }: Target, { deviceId }: LocalDevice): InviteProof | undefined =>
  invite && { inviteId: invite.inviteId, proof: inviteProof(invite.secret, { poolId, inviteId: invite.inviteId, deviceId }) }

export const poolJoin = defineCommand({
  name: 'pool-join',
  summary: 'join a pool that another device made: by invite, or by asking its admins',
  details: 'With an invite, the agent of the device that made it must be running (mesh start). Without one, an admin answers by hand (mesh pool-approve). The certificate is checked here.',
  options: ['invite', 'poolId', 'poolRootPubkey', 'name', 'wait', 'controlPlane', 'json'],
  examples: ['mesh pool-join --invite mesh-invite:hgFYI...', 'mesh pool-join --pool-id 3f...c1 --pool-root-pubkey 9a...07 --wait 5m'],
  json: Type.Object({ poolId: Hex64, name: Name, role: Role, notAfter: Time }),
  run: async (context, values) => {
    const target = targetOf(values, context.now())
    if (target.invite && values.controlPlane === undefined) await adoptControlPlane(context, target.invite)
    const { device, client } = openSession(context, values)
    const { poolId, rootPublicKey } = target
    const before = findPool(context.home, poolId)
    const { text, certificate } = await obtain({ context, client, device, poolId, rootPublicKey, invite: proofOf(target, device), waitMs: values.wait })
    const pool: LocalPool = {
      poolId,
      name: checkName('--name', values.name ?? before?.name ?? shortId(poolId)),
      rootPublicKey: toHex(rootPublicKey),
      role: certificate.role,
      certificate: text,
    }
    savePool(context.home, pool)
    const named = values.name === undefined ? await nameFromControlPlane(context, client, pool) : pool
    if (values.json) {
      context.printJson({ ...named, notAfter: certificate.notAfter })
      return
    }
    context.stdout.write(fields([['pool', named.name], ['pool id', poolId], ['role', named.role], ['valid for', validity(certificate.notAfter, context.now())]]))
  },
})

/** The name that its maker gave the pool; members alone may ask for it, so only now. */
const nameFromControlPlane = async (context: CommandContext, client: Client, pool: LocalPool): Promise<LocalPool> => {
  const result = await ifReachable(client.call('getPool', { params: { poolId: pool.poolId } }))
  if (!('answer' in result) || result.answer.name === pool.name) return pool
  const named = { ...pool, name: checkName('the name of the pool', result.answer.name) }
  savePool(context.home, named)
  return named
}
