import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { issueCertificate } from '../../../shared/identity/pool-certificate.ts'
import { fromHex } from '../../../shared/identity/keys.ts'
import { readRevocations } from '../../../shared/identity/revocation-list.ts'
import { parseDeviceId, shortId } from '../../../shared/ids.ts'
import { Hex64, Name } from '../../../shared/schema/common.ts'
import { Role } from '../../../shared/schema/pool.ts'
import { defineCommand } from '../command.ts'
import { openAdminSession, selectDevice } from '../join-requests.ts'
import { fields } from '../render.ts'
import { publishRemovals } from '../revocations.ts'

export const poolApprove = defineCommand({
  name: 'pool-approve',
  summary: 'let a device that asks into the pool, also one that was removed',
  options: ['device', 'role', 'poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  required: ['device'],
  examples: ['mesh pool-approve --device 3fa94c11', 'mesh pool-approve --device 3fa94c11 --role admin'],
  json: Type.Object({ poolId: Hex64, deviceId: Hex64, name: Name, role: Role }),
  run: async (context, values) => {
    const session = openAdminSession(context, values)
    const { client, pool, signer } = session
    const role = values.role as Role
    if (role === 'admin' && pool.rootKey === undefined)
      throw new MeshError('notAdmin', { poolId: `${pool.name}, with its root key,` })
    const params = { poolId: pool.poolId }
    const { deviceId, name } = selectDevice(
      await client.call('listJoins', { params }),
      values.device,
      'join request of device',
    )
    const newest = await client.call('getRevocations', { params })
    const isRemoved =
      newest.list !== undefined &&
      readRevocations(newest.list, fromHex(pool.rootPublicKey, 32, 'root public key'), context.now()).removed.has(
        parseDeviceId(deviceId),
      )
    if (isRemoved) await publishRemovals(context, session, (removed) => removed.delete(deviceId))
    const certificate = issueCertificate(signer, { deviceId: parseDeviceId(deviceId), role }, context.now())
    await client.call('publishCertificate', { params, body: { certificate } })
    if (values.json) context.printJson({ poolId: pool.poolId, deviceId, name, role })
    else
      context.stdout.write(
        fields(
          [
            ['device', `${name} (${shortId(deviceId)})`],
            ['pool', pool.name],
            ['role', role],
          ],
          context.stdout.columns,
        ),
      )
  },
})
