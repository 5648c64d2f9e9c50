import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { AgentRing } from '../../../shared/schema/agent-state.ts'
import { formatBytes } from '../../../shared/words.ts'
import { loadDevice } from '../../device/device.ts'
import { defineCommand, type Output } from '../command.ts'
import { loadText } from '../progress.ts'
import { heldText, reblockedText } from '../held-text.ts'
import { fields, rangesText } from '../render.ts'
import { readAgentState } from '../session.ts'

export const shardText = (ring: AgentRing, output: Pick<Output, 'isTTY' | 'columns'>): string =>
  fields(
    [
      ['model', `${ring.modelId} ${ring.quant}, epoch ${ring.epoch}`],
      ['rank', `${ring.rank} of ${ring.worldSize}`],
      ['state', ring.state === 'loading' ? loadText(ring, output) : ring.state],
      ...(ring.error ? [['error', ring.error.message] as const] : []),
      ['holds', rangesText(ring.ranges)],
      ['backend', ring.backend || '-'],
      ...(ring.weights
        ? [['as in the file', heldText(ring.weights)] as const, ['re-blocked', reblockedText(ring.weights)] as const]
        : []),
      ['shard', ring.shardFolder === '' ? '-' : `${formatBytes(ring.shardBytes)} in ${ring.shardFolder}`],
    ],
    output.columns,
  )

export const shardStatus = defineCommand({
  name: 'shard-status',
  summary: 'what the agent of this device holds of each model',
  options: ['json'],
  examples: ['mesh shard-status', 'mesh shard-status --json'],
  json: Type.Array(AgentRing),
  run: async (context, values) => {
    loadDevice(context.home)
    const state = readAgentState(context.home)
    if (state === undefined) throw new MeshError('agentNotRunning', { home: context.home.root })
    if (values.json) context.printJson(state.rings)
    else if (state.rings.length === 0)
      context.stdout.write('this device holds no shard: mesh join-ring --model-id tiny-story\n')
    else context.stdout.write(state.rings.map((ring) => shardText(ring, context.stdout)).join('\n'))
  },
})
