import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ModelManifest, Quant } from '../../../shared/schema/model.ts'
import { formatBytes } from '../../../shared/units.ts'
import { registerDevice } from '../../device/control-plane.ts'
import { readCapabilities } from '../../device/device.ts'
import { selectPool } from '../../device/pools.ts'
import { saveRingWish } from '../../device/rings.ts'
import { openModel, resolveModel } from '../../model/model-folder.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { counted, fields, printJson } from '../render.ts'
import { openSession } from '../session.ts'

const bundledFolder = fileURLToPath(new URL('../../../models', import.meta.url))

const readManifest = (context: CommandContext, modelId: string, modelDir: string | undefined): ModelManifest => {
  const model = openModel(resolveModel(modelId, { home: context.home, bundledFolder, modelDir }), modelId)
  try {
    return model.manifest
  } finally {
    model.close()
  }
}

export const joinRing = defineCommand({
  name: 'join-ring',
  summary: 'take part in serving a model',
  details: 'The files of the model must be on this device: bundled, under MESHNET_HOME/models/<model id>, or in --model-dir. The agent (mesh start) loads its share of the columns.',
  options: ['modelId', 'modelDir', 'quant', 'share', 'poolId', 'controlPlane', 'json'],
  examples: ['mesh join-ring --model-id tiny-story', 'mesh join-ring --model-id llama --model-dir ~/models/Llama-3.2-1B --quant q8 --share 2'],
  run: async (context, values) => {
    const { device, client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const modelDir = values.modelDir === undefined ? undefined : resolve(values.modelDir)
    const manifest = readManifest(context, values.modelId, modelDir)
    const quant = values.quant as Quant
    await registerDevice(client, device, readCapabilities())
    // the wish first: the control plane may tell the running agent of the ring before it answers us
    saveRingWish(context.home, { poolId: pool.poolId, modelId: values.modelId, modelDir, quant, share: values.share })
    const ring = await client.call('joinRing', { params: { poolId: pool.poolId }, body: { model: manifest, quant, share: values.share } })
    if (values.json) {
      printJson(context.stdout, ring)
      return
    }
    context.stdout.write(fields([
      ['ring', `${ring.modelId} ${ring.quant} in pool ${pool.name}`],
      ['model', `${formatBytes(manifest.weightBytes)}, revision ${manifest.revision.slice(0, 12)}`],
      ['members', counted(ring.members.length, 'device')],
      ['status', `${ring.status}${ring.reason ? ` (${ring.reason})` : ''}`],
    ]))
  },
})
