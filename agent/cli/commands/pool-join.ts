import type { Client } from '../../../shared/api/client.ts'
import { MeshError } from '../../../shared/errors.ts'
import { fromHex } from '../../../shared/identity/keys.ts'
import { type Certificate, issueCertificate, poolIdOf, verifyCertificate } from '../../../shared/identity/pool-certificate.ts'
import { type PoolId, parsePoolId, shortId } from '../../../shared/ids.ts'
import type { JoinRequest } from '../../../shared/schema/pool.ts'
import { registerDevice } from '../../device/control-plane.ts'
import { type LocalDevice, readCapabilities } from '../../device/device.ts'
import { findPool, type LocalPool, savePool } from '../../device/pools.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { fields, printJson, validity } from '../render.ts'
import { checkName, ifReachable, openSession, poll } from '../session.ts'

interface Wish {
  readonly context: CommandContext
  readonly client: Client
  readonly device: LocalDevice
  readonly poolId: PoolId
  readonly rootPublicKey: Uint8Array
  readonly waitMs: number
}

interface Membership {
  readonly text: string
  readonly certificate: Certificate
}

/** Checks what an admin signed. An expired certificate is from an earlier time: the admin is still to answer. */
const membershipIn = (wish: Wish, request: JoinRequest): Membership | undefined => {
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
  const first = membershipIn(wish, await client.call('requestJoin', { params: { poolId }, body: { rootPublicKey } }))
  if (first !== undefined) return first
  context.stderr.write(`asked to join pool ${shortId(poolId)}; waiting for the device that made it ...\n`)
  const found = await poll(async () => membershipIn(wish, await client.call('getJoin', { params: { poolId } })), { waitMs: wish.waitMs, everyMs: 250, context })
  if (found === undefined) throw new MeshError('joinPending', { poolId, seconds: Number((wish.waitMs / 1000).toFixed(1)) })
  return found
}

export const poolJoin = defineCommand({
  name: 'pool-join',
  summary: 'join a pool that another device made, or renew the membership',
  details: 'Asks the device that made the pool for a certificate and checks its signature here. Its agent must be running (mesh start).',
  options: ['poolId', 'poolRootPubkey', 'name', 'wait', 'controlPlane', 'json'],
  required: ['poolId', 'poolRootPubkey'],
  examples: ['mesh pool-join --pool-id 3f...c1 --pool-root-pubkey 9a...07', 'mesh pool-join --pool-id 3f...c1 --pool-root-pubkey 9a...07 --name home --wait 5m'],
  run: async (context, values) => {
    const { device, client } = openSession(context, values)
    const poolId = parsePoolId(values.poolId.toLowerCase())
    const rootPublicKey = fromHex(values.poolRootPubkey, 32, '--pool-root-pubkey')
    if (poolIdOf(rootPublicKey) !== poolId) throw new MeshError('poolKeyMismatch', { poolId })
    const before = findPool(context.home, poolId)
    const { text, certificate } = await obtain({ context, client, device, poolId, rootPublicKey, waitMs: values.wait })
    const pool: LocalPool = {
      poolId,
      name: checkName('--name', values.name ?? before?.name ?? shortId(poolId)),
      rootPublicKey: values.poolRootPubkey.toLowerCase(),
      role: certificate.role,
      certificate: text,
    }
    savePool(context.home, pool)
    const named = values.name === undefined ? await nameFromControlPlane(context, client, pool) : pool
    if (values.json) {
      printJson(context.stdout, { pool_id: poolId, name: named.name, role: named.role, not_after: certificate.notAfter })
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
