import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../../../shared/errors.ts'
import type { AgentRing } from '../../../shared/schema/agent-state.ts'
import type { ModelManifest, Quant } from '../../../shared/schema/model.ts'
import { RingView } from '../../../shared/schema/ring.ts'
import { formatBytes } from '../../../shared/units.ts'
import { registerDevice } from '../../device/control-plane.ts'
import { readCapabilities } from '../../device/device.ts'
import { selectPool } from '../../device/pools.ts'
import { saveRingWish } from '../../device/rings.ts'
import { openModel, resolveModel } from '../../model/model-folder.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { counted, fields } from '../render.ts'
import { createProgressLine } from '../progress.ts'
import { openSession, poll, readAgentState } from '../session.ts'

const bundledFolder = fileURLToPath(new URL('../../../models', import.meta.url))

const readManifest = (context: CommandContext, modelId: string, modelDir: string | undefined): ModelManifest => {
  const model = openModel(resolveModel(modelId, { home: context.home, bundledFolder, modelDir }), modelId)
  try {
    return model.manifest
  } finally {
    model.close()
  }
}

/** How long the agent may take to hear of the ring. */
const noticeMs = 5000

/**
 * Shows how the agent of this device loads its shard, until it has. Says nothing when no agent runs here, or the ring
 * forms later. @throws MeshError the reason why it could not be loaded
 */
const followLoading = async (context: CommandContext, joined: RingView): Promise<void> => {
  const line = createProgressLine(context.stderr)
  const own = (): AgentRing | undefined => readAgentState(context.home)?.rings.find(({ ringId, epoch }) => ringId === joined.ringId && epoch >= joined.epoch)
  const time = { everyMs: 100, context }
  try {
    if (readAgentState(context.home) === undefined || (await poll(async () => own(), { ...time, waitMs: noticeMs })) === undefined) return
    await poll(async () => {
      const ring = own()
      if (ring?.state !== 'loading' || ring.loading?.phase === 'linking') return true
      line.show(ring)
      return undefined
    }, { ...time, waitMs: Infinity })
  } finally {
    line.end()
  }
  const failure = own()?.error
  if (failure) throw MeshError.fromReport(failure)
}

export const joinRing = defineCommand({
  name: 'join-ring',
  summary: 'take part in serving a model',
  details: 'The files of the model must be on this device: bundled, under MESHNET_HOME/models/<model id>, or in --model-dir. The agent (mesh start) loads its share of the columns; in a terminal this shows how far it is (Ctrl-C stops looking, not loading).',
  options: ['modelId', 'modelDir', 'quant', 'share', 'poolId', 'controlPlane', 'json'],
  examples: ['mesh join-ring --model-id tiny-story', 'mesh join-ring --model-id llama --model-dir ~/models/Llama-3.2-1B --quant q8 --share 2'],
  json: RingView,
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
      context.printJson(ring)
      return
    }
    context.stdout.write(fields([
      ['ring', `${ring.modelId} ${ring.quant} in pool ${pool.name}`],
      ['model', `${formatBytes(manifest.weightBytes)}, revision ${manifest.revision.slice(0, 12)}`],
      ['members', counted(ring.members.length, 'device')],
      ['status', `${ring.status}${ring.reason ? ` (${ring.reason})` : ''}`],
    ]))
    if (context.stderr.isTTY) await followLoading(context, ring)
  },
})
