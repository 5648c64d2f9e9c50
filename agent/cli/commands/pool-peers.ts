import { shortId } from '../../../shared/ids.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { ago, printJson, table, validity } from '../render.ts'
import { openSession } from '../session.ts'

export const poolPeers = defineCommand({
  name: 'pool-peers',
  summary: 'members of a pool',
  options: ['poolId', 'controlPlane', 'json'],
  examples: ['mesh pool-peers', 'mesh pool-peers --pool-id 3f...c1 --json'],
  run: async (context, values) => {
    const { device, client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const peers = await client.call('listPeers', { params: { poolId: pool.poolId } })
    if (values.json) {
      printJson(context.stdout, peers)
      return
    }
    const now = context.now()
    context.stdout.write(table(['device', 'name', 'role', 'state', 'valid for', 'addresses'], peers.map((peer) => [
      shortId(peer.deviceId),
      peer.deviceId === device.deviceId ? `${peer.name} (this device)` : peer.name,
      peer.role,
      peer.online ? 'online' : `seen ${ago(peer.lastSeenAt, now)}`,
      validity(peer.notAfter, now),
      peer.addresses.join(' ') || '-',
    ])))
  },
})
