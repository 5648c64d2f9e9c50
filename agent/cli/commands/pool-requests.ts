import { shortId } from '../../../shared/ids.ts'
import { defineCommand } from '../command.ts'
import { openAdminSession } from '../join-requests.ts'
import { ago, printJson, table } from '../render.ts'

export const poolRequests = defineCommand({
  name: 'pool-requests',
  summary: 'devices that ask to join a pool of which this device is an admin',
  options: ['poolId', 'controlPlane', 'json'],
  examples: ['mesh pool-requests', 'mesh pool-requests --json'],
  run: async (context, values) => {
    const { client, pool } = openAdminSession(context, values)
    const requests = await client.call('listJoins', { params: { poolId: pool.poolId } })
    if (values.json) {
      printJson(context.stdout, requests.map(({ deviceId, name, createdAt, invite }) => ({ device_id: deviceId, name, created_at: createdAt, invite_id: invite?.inviteId ?? null })))
      return
    }
    if (requests.length === 0) {
      context.stdout.write(`nobody asks to join ${pool.name}\n`)
      return
    }
    context.stdout.write(table(['device', 'name', 'asked', 'invite'], requests.map(({ deviceId, name, createdAt, invite }) => [shortId(deviceId), name, ago(createdAt, context.now()), invite?.inviteId ?? '-'])))
    context.stdout.write('compare the digits with what mesh status shows on that device, then: mesh pool-approve --device ...\n')
  },
})
