import { Type } from 'typebox'
import { RingView } from '../../../shared/schema/ring.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { ringText } from '../ring-view.ts'
import { openSession } from '../session.ts'

export const ringStatus = defineCommand({
  name: 'ring-status',
  summary: 'rings of a pool: members, positions, neighbours, columns, links',
  options: ['poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh ring-status', 'mesh ring-status --json'],
  json: Type.Array(RingView),
  run: async (context, values) => {
    const { client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const rings = await client.call('listRings', { params: { poolId: pool.poolId } })
    if (values.json) context.printJson(rings)
    else if (rings.length === 0)
      context.stdout.write(`no ring in pool ${pool.name} yet: mesh join-ring --model-id tiny-story\n`)
    else context.stdout.write(rings.map((ring) => ringText(ring, context.stdout, context.now())).join('\n'))
  },
})
