import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { Hex64, ModelId } from '../../../shared/schema/common.ts'
import { selectPool } from '../../device/pools.ts'
import { removeRingIntent } from '../../device/rings.ts'
import { defineCommand } from '../command.ts'
import { openSession } from '../session.ts'

export const leaveRing = defineCommand({
  name: 'leave-ring',
  summary: 'stop serving a model',
  options: ['modelId', 'poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh leave-ring --model-id tiny-story'],
  json: Type.Object({ modelId: ModelId, poolId: Hex64, left: Type.Literal(true) }),
  run: async (context, values) => {
    const { client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    try {
      await client.call('leaveRing', { params: { poolId: pool.poolId }, body: { modelId: values.modelId } })
      removeRingIntent(context.home, pool.poolId, values.modelId)
    } catch (error) {
      // the control plane may have forgotten the ring (a new database): what is remembered here must go as well
      const forgotten =
        error instanceof MeshError &&
        error.code === 'notInRing' &&
        removeRingIntent(context.home, pool.poolId, values.modelId)
      if (!forgotten) throw error
    }
    if (values.json) context.printJson({ modelId: values.modelId, poolId: pool.poolId, left: true })
    else context.stdout.write(`left the ring for ${values.modelId} in pool ${pool.name}\n`)
  },
})
