import { Type } from 'typebox'
import { shortId } from '../../../shared/ids.ts'
import { Hex64, Name, Time } from '../../../shared/schema/common.ts'
import { InviteId } from '../../../shared/schema/pool.ts'
import { defineCommand } from '../command.ts'
import { openAdminSession } from '../join-requests.ts'
import { ago, paragraph, table } from '../render.ts'

export const poolRequests = defineCommand({
  name: 'pool-requests',
  summary: 'devices that ask to join a pool of which this device is an admin',
  options: ['poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh pool-requests', 'mesh pool-requests --json'],
  json: Type.Array(Type.Object({ deviceId: Hex64, name: Name, createdAt: Time, inviteId: Type.Optional(InviteId) })),
  run: async (context, values) => {
    const { client, pool } = openAdminSession(context, values)
    const requests = await client.call('listJoins', { params: { poolId: pool.poolId } })
    if (values.json) {
      context.printJson(requests.map((request) => ({ ...request, inviteId: request.invite?.inviteId })))
      return
    }
    if (requests.length === 0) {
      context.stdout.write(`nobody asks to join ${pool.name}\n`)
      return
    }
    context.stdout.write(
      table(
        ['device', 'name', 'asked', 'invite'],
        requests.map(({ deviceId, name, createdAt, invite }) => [
          shortId(deviceId),
          name,
          ago(createdAt, context.now()),
          invite?.inviteId ?? '-',
        ]),
        { columns: context.stdout.columns },
      ),
    )
    context.stdout.write(
      paragraph(
        'compare the digits with what mesh status shows on that device, then: mesh pool-approve --device ID',
        context.stdout.columns,
      ),
    )
  },
})
