import { Type } from 'typebox'
import type { Client } from '../../../shared/api/client.ts'
import { MeshError } from '../../../shared/errors.ts'
import { type Certificate, issueCertificate, verifyForRenewal } from '../../../shared/identity/pool-certificate.ts'
import { removalsOf } from '../../../shared/identity/revocation-list.ts'
import { shortId } from '../../../shared/ids.ts'
import { Hex64, Name } from '../../../shared/schema/common.ts'
import type { PoolPeer } from '../../../shared/schema/pool.ts'
import { Revocations } from '../../device/revocations.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { type AdminSession, openAdminSession, selectDevice } from '../join-requests.ts'
import { counted, fields } from '../render.ts'
import { pinOf, pinPool } from '../pool-pin.ts'
import { publishRemovals } from '../revocations.ts'
import { ifReachable } from '../session.ts'

/** What a member shows, checked here: the control plane could name anybody. */
const certificateOf = (context: CommandContext, { pool }: AdminSession, peer: PoolPeer): Certificate | undefined => {
  try {
    return verifyForRenewal(
      peer.certificate,
      Buffer.from(pool.rootPublicKey, 'hex'),
      context.now(),
      removalsOf(new Revocations(context.home, context.now).listOf(pool.poolId)),
    )
  } catch (error) {
    if (error instanceof MeshError) return undefined
    throw error
  }
}

/** Members that the removed admin let in stay: this admin signs for them now. @returns how many */
const keepMembersOf = async (
  context: CommandContext,
  session: AdminSession,
  peers: readonly PoolPeer[],
  removed: string,
): Promise<number> => {
  const { client, signer, pool } = session
  let kept = 0
  for (const peer of peers) {
    const certificate = certificateOf(context, session, peer)
    if (certificate?.signedBy !== removed || certificate.deviceId === removed) continue
    await client.call('publishCertificate', {
      params: { poolId: pool.poolId },
      body: { certificate: issueCertificate(signer, certificate, context.now()) },
    })
    kept++
  }
  return kept
}

/**
 * Members as the control plane knows them; without it the id must be whole.
 * @throws MeshError `controlPlaneUnreachable`
 */
const findMembers = async (client: Client, poolId: string, isWhole: boolean): Promise<readonly PoolPeer[]> => {
  const result = await ifReachable(client.call('listPeers', { params: { poolId } }))
  if ('answer' in result) return result.answer
  if (isWhole) return []
  const { code, fields: known } = result.problem
  throw new MeshError(
    code,
    { ...known, problem: `${known.problem}; without it --device wants the whole id (64 digits)` },
    result.problem,
  )
}

/**
 * What the removed admin said of the control plane would bind nobody any more: this admin says it now.
 * @returns the key, where it was that admin who had named it
 */
const keepControlPlane = async (
  context: CommandContext,
  { client, pool, signer }: AdminSession,
  removed: string,
): Promise<string | undefined> => {
  const held = pinOf(context, pool.poolId)
  if (held?.signedBy !== removed) return undefined
  await pinPool(context, { pool, signer, controlPlaneId: held.controlPlaneId, client })
  return held.controlPlaneId
}

export const poolRemove = defineCommand({
  name: 'pool-remove',
  summary: 'remove a device from the pool: its connections are cut, its certificate is void',
  details:
    'Signs the next revocation list, which spreads through the control plane and from member to member. ' +
    'mesh pool-approve lets the device in again. Without the control plane give the whole device id; ' +
    'the agent of this device tells the members it reaches.',
  options: ['device', 'poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  required: ['device'],
  examples: ['mesh pool-remove --device 3fa94c11'],
  json: Type.Object({
    poolId: Hex64,
    deviceId: Hex64,
    name: Name,
    list: Type.Integer({ minimum: 0, description: 'number of the revocation list that says so' }),
    published: Type.Boolean(),
    keptMembers: Type.Integer({ minimum: 0, description: 'members that the removed admin had let in, and that stay' }),
    keptControlPlane: Type.Optional(Hex64),
  }),
  run: async (context, values) => {
    const session = openAdminSession(context, values)
    const { client, device, pool } = session
    const isWhole = /^[0-9a-f]{64}$/.test(values.device)
    const peers = await findMembers(client, pool.poolId, isWhole)
    const target = isWhole
      ? {
          deviceId: values.device,
          name: peers.find(({ deviceId }) => deviceId === values.device)?.name ?? shortId(values.device),
        }
      : selectDevice(peers, values.device, 'member with the id')
    if (target.deviceId === device.deviceId)
      throw new MeshError('usage', { problem: 'a device cannot remove itself; ask another admin' })
    const kept = await keepMembersOf(context, session, peers, target.deviceId)
    // before the removal is known, so that nobody is without a statement that holds
    const before = await keepControlPlane(context, session, target.deviceId).catch((error: unknown) => {
      // it used up the numbers: it loses them next
      if (error instanceof MeshError && error.code === 'pinInvalid') return undefined
      throw error
    })
    const { number, problem } = await publishRemovals(context, session, (removed) => {
      removed.delete(device.deviceId)
      removed.add(target.deviceId)
    })
    const controlPlane = before ?? (await keepControlPlane(context, session, target.deviceId))
    if (values.json)
      return context.printJson({
        poolId: pool.poolId,
        ...target,
        list: number,
        published: problem === undefined,
        keptMembers: kept,
        keptControlPlane: controlPlane,
      })
    context.stdout.write(
      fields(
        [
          ['removed', `${target.name} (${shortId(target.deviceId)})`],
          ['pool', pool.name],
          ['list', `number ${number}`],
          ...(kept === 0 ? [] : [['kept', `${counted(kept, 'member')} that it had let in`] as const]),
          ...(controlPlane === undefined
            ? []
            : [
                [
                  'control plane',
                  `key ${shortId(controlPlane)}, which it had named; if that is not yours: ` +
                    'mesh pool-move --control-plane URL',
                ] as const,
              ]),
        ],
        context.stdout.columns,
      ),
    )
    if (problem)
      context.stderr.write(
        `${problem.message}\nthe list is kept here; mesh start passes it on to the members it reaches; ` +
          `repeat the command when the control plane is there\n`,
      )
  },
})
