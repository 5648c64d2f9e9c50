import { Type } from 'typebox'
import { Count } from '../../../shared/schema/common.ts'
import type { Job } from '../../../shared/schema/job.ts'
import { RingView } from '../../../shared/schema/ring.ts'
import { formatBytes, formatDuration } from '../../../shared/words.ts'
import { MeshError } from '../../../shared/errors.ts'
import { flowingText } from '../../../shared/text.ts'
import { ownCommand } from '../../../shared/options.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { DemoCluster } from '../demo-cluster.ts'
import { createLiveText, type LiveText } from '../live-text.ts'
import { bold, counted, dim, rangeText } from '../render.ts'
import { jobOptions, runJob, submissionOf } from '../run-job.ts'
import { bundledFolder, namedModel, readManifest } from '../ring-join.ts'
import { openSession, poll, readAgentState } from '../session.ts'
import { JobAnswer, jobAnswer, progressText } from './inference.ts'

/** Milliseconds for loading shards; the bundled model needs one or two seconds. */
const ringMs = 120_000

const describeMembers = (ring: RingView): string =>
  ring.members.map((member) => `${member.name} ${member.state}`).join(' · ') || 'no worker yet'

/** Waits until all agents are in the ring and it is active; tells of every change. */
const waitForRing = async (
  context: CommandContext,
  cluster: DemoCluster,
  wanted: { poolId: string; modelId: string; workers: number },
  tell: (text: string) => void,
): Promise<RingView> => {
  const { client } = openSession(context)
  let told = ''
  const look = async (): Promise<RingView | undefined> => {
    const rings = await client.call('listRings', { params: { poolId: wanted.poolId } })
    const ring = rings.find((candidate) => candidate.modelId === wanted.modelId)
    const failed = ring?.members.find((member) => member.state === 'failed' && member.error)
    if (failed?.error) throw MeshError.fromReport(failed.error)
    const text = ring === undefined ? 'forming' : describeMembers(ring)
    if (text !== told) tell(text)
    told = text
    return ring?.status === 'active' && ring.worldSize === wanted.workers ? ring : undefined
  }
  const ring = await Promise.race([poll(look, { waitMs: ringMs, everyMs: 100, context }), cluster.failure])
  if (ring === undefined) throw new MeshError('jobTimeout', { seconds: ringMs / 1000 })
  return ring
}

interface Outcome {
  readonly job: Job
  readonly ring: RingView
  /** Bytes of the quantised shard, by rank. */
  readonly shardBytes: readonly number[]
  readonly totalMs: number
}

const shardBytesOf = (cluster: DemoCluster, ring: RingView): number[] => {
  const bytes: number[] = ring.members.map(() => 0)
  for (let index = 1; index <= ring.members.length; index++) {
    const held = readAgentState(cluster.agentHome(index))?.rings.find((candidate) => candidate.ringId === ring.ringId)
    if (held !== undefined) bytes[held.rank] = held.shardBytes
  }
  return bytes
}

const summary = (context: CommandContext, { job, ring, shardBytes, totalMs }: Outcome): string => {
  const ranked = ring.members
    .filter((member) => member.rank !== undefined)
    .toSorted((a, b) => (a.rank ?? 0) - (b.rank ?? 0))
  const heldBy = ({ ranges }: RingView['members'][number]): string =>
    ranges === undefined
      ? '-'
      : `kv heads ${rangeText(ranges.kvHeads)}, MLP columns ${rangeText(ranges.ffn)}, ` +
        `vocabulary ${rangeText(ranges.vocab)}`
  const ranks = ranked.map(
    (member, rank) =>
      `  rank ${rank}  ${member.name}: ${heldBy(member)}, shard ${formatBytes(shardBytes[rank] ?? 0)}\n`,
  )
  const { timings } = job
  const speed =
    timings === undefined
      ? ''
      : `  first token after ${formatDuration(timings.timeToFirstTokenMs)}, ` +
        `then ${timings.decodeTokensPerSecond.toFixed(1)} tok/s (compute ${formatDuration(timings.computeMs)}, ` +
        `exchange ${formatDuration(timings.collectiveMs)})\n`
  return [
    `\n${bold(context, `${counted(ring.worldSize, 'worker')} ran ${ring.modelId} together`)} (${ring.quant}; ` +
      `each reads and computes only its own columns)\n`,
    ...ranks,
    `  ${job.usage?.promptTokens ?? 0} tokens read, ${job.tokens.length} written (${job.finishReason ?? 'unknown'})\n`,
    speed,
    `  ${formatDuration(totalMs)} from start to end; everything is stopped\n`,
    `\nthe same with machines of your own: ${ownCommand()} up -d\n`,
  ].join('')
}

/**
 * Checks the files of the model before anything is started, and finds them for the agents, whose homes are empty.
 * @throws MeshError as `resolveModel` and `readManifest`
 */
const findModel = async (
  context: CommandContext,
  values: { readonly modelId: string; readonly modelDir?: string },
): Promise<{ readonly modelId: string; readonly modelDir: string }> => {
  const { resolveModel } = await import('../../model/model-folder.ts')
  const named = namedModel(context, values)
  const modelDir = resolveModel(named.modelId, { home: context.home, bundledFolder, modelDir: named.modelDir })
  await readManifest(context, { ...named, modelDir })
  return { ...named, modelDir }
}

const showStep =
  (context: CommandContext, quiet: boolean) =>
  (what: string, text: string): void => {
    if (!quiet) context.stdout.write(`${dim(context, what.padEnd(14))}${text}\n`)
  }

export const demo = defineCommand({
  name: 'demo',
  summary: 'see it work: relay, control plane and agents on this machine, one prompt, nothing left behind',
  needs: ['agent', 'relay', 'control-plane'],
  options: [...jobOptions, 'modelDir', 'quant', 'workers', 'keep', 'json'],
  bare: 'prompt',
  defaults: { prompt: 'Once upon a time', seed: 1, maxTokens: 120 },
  examples: [
    'mesh demo',
    'mesh demo "The little dragon" --workers 3 --seed 7',
    'mesh demo --chat --prompt "What colour is the sky?" --temperature 0',
  ],
  json: Type.Object({
    ...JobAnswer.properties,
    shardBytes: Type.Array(Count, { description: 'by rank' }),
    totalMs: Type.Number({ minimum: 0 }),
    ring: RingView,
  }),
  run: async (context, values) => {
    const { modelId, modelDir } = await findModel(context, values)
    const startedAt = context.now()
    const submission = submissionOf({ ...values, modelId })
    const step = showStep(context, values.json)
    const joinRing = ['--model-id', modelId, '--quant', values.quant, '--model-dir', modelDir]
    const cluster = new DemoCluster({ agents: values.workers, joinRing, signal: context.signal, onStep: step })
    const live: LiveText = createLiveText(context.stdout, context.stderr, context.now)
    let outcome: Omit<Outcome, 'totalMs'> | undefined
    try {
      const poolId = await cluster.start()
      const inside: CommandContext = { ...context, home: cluster.agentHome(1) }
      const ring = await waitForRing(inside, cluster, { poolId, modelId, workers: values.workers }, (text) =>
        step('ring', text),
      )
      step(
        'ring',
        `active with ${counted(ring.worldSize, 'worker')} after ${formatDuration(context.now() - startedAt)}`,
      )
      if (!values.json) live.text(`\n${bold(context, values.prompt)}`)
      const { client, device } = openSession(inside)
      const job = await Promise.race([
        runJob({
          context: inside,
          client,
          key: device.key,
          poolId,
          submission,
          waitMs: 60_000,
          onText: (text) => {
            if (!values.json) live.text(context.stdout.isTTY ? flowingText(text) : text)
          },
          onProgress: (progress) => live.status(progressText(progress)),
        }),
        cluster.failure,
      ])
      live.end()
      outcome = { job, ring, shardBytes: shardBytesOf(cluster, ring) }
    } catch (error) {
      live.end()
      for (const { name, lines } of cluster.wreckage())
        context.stderr.write(`last lines of ${name}:\n${lines.map((line) => `  ${line}\n`).join('') || '  (none)\n'}`)
      throw error
    } finally {
      await cluster.stop(values.keep)
      if (values.keep) context.stderr.write(`kept ${cluster.folder}\n`)
    }
    const totalMs = context.now() - startedAt
    if (values.json)
      context.printJson({ ...jobAnswer(outcome.job), shardBytes: outcome.shardBytes, totalMs, ring: outcome.ring })
    else context.stdout.write(summary(context, { ...outcome, totalMs }))
  },
})
