import { MeshError } from '../../../shared/errors.ts'
import { shortRevision } from '../../../shared/ids.ts'
import type { AgentRing } from '../../../shared/schema/agent-state.ts'
import { usualQuant } from '../usual-quant.ts'
import type { Quant } from '../../../shared/schema/model.ts'
import { RingView } from '../../../shared/schema/ring.ts'
import { formatBytes } from '../../../shared/words.ts'
import { selectPool } from '../../device/pools.ts'
import { unreadableIntents } from '../../device/rings.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { counted, fields } from '../render.ts'
import { createProgressLine } from '../progress.ts'
import { askForRing, namedModel, readManifest } from '../ring-join.ts'
import { openSession, poll, readAgentState } from '../session.ts'

/** How long the agent may take to hear of the ring. */
const noticeMs = 5000

/**
 * Shows how the agent of this device loads its shard, until it has. Says nothing when no agent runs here, or the ring
 * forms later. @throws MeshError the reason why it could not be loaded
 */
const followLoading = async (context: CommandContext, joined: RingView): Promise<void> => {
  const line = createProgressLine(context.stderr)
  const own = (): AgentRing | undefined =>
    readAgentState(context.home)?.rings.find(({ ringId, epoch }) => ringId === joined.ringId && epoch >= joined.epoch)
  const time = { everyMs: 100, context }
  try {
    if (
      readAgentState(context.home) === undefined ||
      (await poll(async () => own(), { ...time, waitMs: noticeMs })) === undefined
    )
      return
    await poll(
      async () => {
        const ring = own()
        if (ring?.state !== 'loading' || ring.loading?.phase === 'linking') return true
        line.show(ring)
        return undefined
      },
      { ...time, waitMs: Infinity },
    )
  } finally {
    line.end()
  }
  const failure = own()?.error
  if (failure) throw MeshError.fromReport(failure)
}

export const joinRing = defineCommand({
  name: 'join-ring',
  summary: 'take part in serving a model',
  details:
    'The files of the model must be on this device: bundled, in the library (mesh model-list), ' +
    'under MESHNET_HOME/models/<model id>, or in --model-dir, whose name is that of the model where --model-id gives none. ' +
    'What is refused leaves this device as it was. The agent (mesh start) loads its share of the columns; ' +
    'in a terminal this shows how far it is (Ctrl-C stops looking, not loading).',
  needs: ['agent'],
  options: ['modelId', 'modelDir', 'quant', 'share', 'poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: [
    'mesh join-ring --model-id tiny-story',
    'mesh join-ring --model-dir ~/models/Llama-3.2-1B',
    'mesh join-ring --model-id meta-llama/Llama-3.2-1B --model-dir ~/models/Llama-3.2-1B --quant q8 --share 2',
  ],
  json: RingView,
  run: async (context, values) => {
    const session = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const model = namedModel(context, values)
    for (const entry of unreadableIntents(context.home))
      context.stderr.write(`note: in ${context.home.rings} ${entry}; it is left as it is\n`)
    const manifest = await readManifest(context, model)
    const ring = await askForRing(context, session, {
      ...model,
      poolId: pool.poolId,
      manifest,
      quant: context.isGiven('quant') ? (values.quant as Quant) : usualQuant(model.modelDir, values.quant as Quant),
      share: values.share,
    })
    if (values.json) {
      context.printJson(ring)
      return
    }
    context.stdout.write(
      fields(
        [
          ['ring', `${ring.modelId} ${ring.quant} in pool ${pool.name}`],
          ['model', `${formatBytes(manifest.weightBytes)}, revision ${shortRevision(manifest.revision)}`],
          ['members', counted(ring.members.length, 'device')],
          ['status', `${ring.status}${ring.reason ? ` (${ring.reason})` : ''}`],
        ],
        context.stdout.columns,
      ),
    )
    if (context.stderr.isTTY) await followLoading(context, ring)
  },
})
