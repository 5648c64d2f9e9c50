import { Type } from 'typebox'
import { Hex64, ModelId } from '../../../shared/schema/common.ts'
import { selectPool } from '../../device/pools.ts'
import { removeRingIntent } from '../../device/rings.ts'
import { defineCommand } from '../command.ts'
import { openSession } from '../session.ts'

export const ringRemove = defineCommand({
  name: 'ring-remove',
  summary: 'remove a ring from the pool, whoever serves it',
  details:
    'By an admin, or by the only device that serves it; mesh leave-ring leaves it to the others. ' +
    'A job that runs ends first, and prompts that wait for the ring are told. ' +
    'Rings that nobody serves any more vanish by themselves. The history of jobs and the ledger stay as they are.',
  options: ['modelId', 'poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh ring-remove --model-id tiny-story'],
  json: Type.Object({ modelId: ModelId, poolId: Hex64, removed: Type.Literal(true), jobRuns: Type.Boolean() }),
  run: async (context, values) => {
    const { client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const { modelId } = values
    const { jobRuns } = await client.call('removeRing', { params: { poolId: pool.poolId }, body: { modelId } })
    removeRingIntent(context.home, pool.poolId, modelId)
    if (values.json) context.printJson({ modelId, poolId: pool.poolId, removed: true, jobRuns })
    else
      context.stdout.write(
        `removed the ring for ${modelId} from pool ${pool.name}${jobRuns ? ': it ends with the job that runs' : ''}\n`,
      )
  },
})
