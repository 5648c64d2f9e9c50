import { MeshError } from '../../../shared/errors.ts'
import { shortId } from '../../../shared/ids.ts'
import { defineCommand } from '../command.ts'
import { openAdminSession, selectDevice } from '../join-requests.ts'
import { printable, printJson } from '../render.ts'

export const poolDeny = defineCommand({
  name: 'pool-deny',
  summary: 'refuse a device that asks to join',
  options: ['device', 'poolId', 'controlPlane', 'json'],
  required: ['device'],
  examples: ['mesh pool-deny --device 3fa94c11'],
  run: async (context, values) => {
    const { client, pool } = openAdminSession(context, values)
    const params = { poolId: pool.poolId }
    const { deviceId, name } = selectDevice(await client.call('listJoins', { params }), values.device, 'join request of device')
    const error = new MeshError('joinDenied', { poolId: shortId(pool.poolId) })
    await client.call('denyJoin', { params, body: { deviceId, error: error.toReport() } })
    if (values.json) printJson(context.stdout, { pool_id: pool.poolId, device_id: deviceId, name, denied: true })
    else context.stdout.write(`denied ${printable(name)} (${shortId(deviceId)})\n`)
  },
})
