import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { shortId } from '../../../shared/ids.ts'
import { Hex64, Name } from '../../../shared/schema/common.ts'
import { defineCommand } from '../command.ts'
import { openAdminSession, selectDevice } from '../join-requests.ts'
import { oneLine } from '../../../shared/text.ts'

export const poolDeny = defineCommand({
  name: 'pool-deny',
  summary: 'refuse a device that asks to join',
  options: ['device', 'poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  required: ['device'],
  examples: ['mesh pool-deny --device 3fa94c11'],
  json: Type.Object({ poolId: Hex64, deviceId: Hex64, name: Name, denied: Type.Literal(true) }),
  run: async (context, values) => {
    const { client, pool } = openAdminSession(context, values)
    const params = { poolId: pool.poolId }
    const { deviceId, name } = selectDevice(
      await client.call('listJoins', { params }),
      values.device,
      'join request of device',
    )
    const error = new MeshError('joinDenied', { poolId: shortId(pool.poolId) })
    await client.call('denyJoin', { params, body: { deviceId, error: error.toReport() } })
    if (values.json) context.printJson({ poolId: pool.poolId, deviceId, name, denied: true })
    else context.stdout.write(`denied ${oneLine(name)} (${shortId(deviceId)})\n`)
  },
})
