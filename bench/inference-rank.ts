/** One rank of the benchmark of inference: links, shard, engine and token loop as in an agent, told what to do over IPC. */
import { rmSync } from 'node:fs'
import type { HostedBackend } from '../agent/compute/hosted-backend.ts'
import { createBackend } from '../agent/compute/choose-backend.ts'
import type { Engine } from '../agent/engine/engine.ts'
import { openResidual } from '../agent/engine/residual.ts'
import { ThreadGovernor } from '../agent/daemon/thread-governor.ts'
import { wantedThreads } from '../agent/engine/wanted-threads.ts'
import { startFollower } from '../agent/generation/follower.ts'
import { Leader } from '../agent/generation/leader.ts'
import type { RingChannel } from '../agent/network/ring-channel.ts'
import { type StartedRank, startRank } from '../agent/rank/start-rank.ts'
import { silentLogger } from '../shared/log.ts'
import { planShards } from '../shared/plan/shard-plan.ts'
import type { RankRanges, RingEpoch } from '../shared/schema/ring.ts'
import { runBatch } from './batch.ts'
import type { Batched, Connected, InferenceOrder, InferenceSettings, RankMemory } from './inference-orders.ts'
import { type MeasuredRank, runPrompt, timed } from './measured-rank.ts'
import { type BenchChecks, openChecks } from './rank-checks.ts'
import { residentBytes } from './process-figures.ts'
import {
  createRankNode,
  type RankIdentity,
  type RankNode,
  type RankProgram,
  routeOf,
  say,
  serveRank,
} from './rank-node.ts'
import { openWeights, type Weights } from './weights.ts'

type Options = InferenceSettings & RankIdentity

const logger = silentLogger()

/** What a rank holds before it knows the others. */
interface Loaded {
  readonly node: RankNode
  readonly plan: readonly RankRanges[]
  readonly weights: Weights
  readonly backend: HostedBackend
  readonly governor: ThreadGovernor
  readonly loadMs: number
}

const load = async (options: Options): Promise<Loaded> => {
  const { rank, worldSize, shape, quant, spinMs } = options
  const node = await createRankNode(options)
  const plan = planShards(
    shape,
    Array.from({ length: worldSize }, () => 1),
  )
  const ranges = plan[rank]
  const weights = await openWeights(options, ranges)
  const { shard, spec } = weights
  const loading = performance.now()
  const governor = new ThreadGovernor({ threads: options.threads, logger })
  const wanted = wantedThreads(shape, ranges)
  const threads = governor.threadsFor(wanted)
  const backend = await createBackend(
    options.backend,
    { spec, shape, ranges, quant, threads, spinMs, shard },
    { logger, progress: () => {} },
  )
  const loadMs = performance.now() - loading
  governor.govern(backend, wanted, threads)
  return { node, plan, weights, backend, governor, loadMs }
}

interface Linked {
  /** Of rank 0. */
  readonly leader: Leader | undefined
  readonly rank: MeasuredRank
  readonly checks: BenchChecks | undefined
}

/** The end of the token loop that belongs to this rank. @returns the leader on rank 0 */
const startLoop = (
  { rank, plan }: Pick<Options, 'rank'> & Pick<Loaded, 'plan'>,
  started: StartedRank,
  { engine, channel }: { readonly engine: Engine; readonly channel: RingChannel | undefined },
): Leader | undefined => {
  if (rank === 0)
    return new Leader({
      engine,
      channel,
      members: plan.map((ranges, one) => ({ rank: one, name: `rank ${one}`, ranges })),
      settings: () => started.agree(),
      decoder: { decode: () => '' },
    })
  // a rank that is lost fails the prompt on rank 0, and with it the benchmark
  if (channel)
    startFollower({
      engine,
      channel,
      logger,
      leaderName: 'rank 0',
      stepTimeoutMs: channel.stepTimeoutMs,
      onSettings: (told) => started.engine.use(told),
      onLost: () => {},
      onBusy: () => {},
      onWork: () => {},
    })
  return undefined
}

const link = async (options: Options, { node, plan, weights, backend }: Loaded, ring: RingEpoch): Promise<Linked> => {
  const { rank, shape, carrier, collective } = options
  const { signal } = new AbortController()
  const channel = plan.length > 1 ? await node.streams.open({ ring, rank, signal }) : undefined
  const started = await startRank({
    ring,
    backend,
    channel,
    carrier,
    settings: collective,
    logger,
    signal,
    shape,
    ranges: plan[rank],
    residual: openResidual(weights.spec, weights.shard),
    embed: weights.embed,
    route: routeOf(rank),
  })
  // batches run without a job that would say it
  const { carrier: opened } = started.agree()
  const times = { computeMs: 0, collectiveMs: 0 }
  const checks = options.spotChecks ? await openChecks({ ...options, plan }) : undefined
  const engine = timed(checks?.around(started.engine) ?? started.engine, times)
  const measured: MeasuredRank = {
    engine,
    channel,
    times,
    vocab: shape.vocab,
    bytesSent: () => (channel?.bytesSent ?? 0) + started.engine.bytesSent,
  }
  const leader = startLoop({ rank, plan }, started, { engine, channel })
  say({ type: 'connected', carrier: opened } satisfies Connected & { type: string })
  return { leader, rank: measured, checks }
}

const start = async (options: Options): Promise<RankProgram<InferenceOrder>> => {
  const loaded = await load(options)
  const { node, plan, weights, backend, governor, loadMs } = loaded
  let linked: Linked | undefined

  const obey = async (order: InferenceOrder): Promise<void> => {
    if (order.type === 'connect') linked = await link(options, loaded, order.ring)
    else if (order.type === 'run' && linked?.leader)
      say({ type: 'result', ...(await runPrompt(linked.leader, linked.rank, order)) })
    else if (order.type === 'checks' && linked?.checks)
      say({ type: 'checks-set', checkMs: await linked.checks.use(order.on) })
    else if (order.type === 'batch' && linked)
      say({ type: 'batched', decodeMs: await runBatch(linked.rank, order) } satisfies Batched)
    else if (order.type === 'measure')
      say({ type: 'measured', residentBytes: residentBytes(), shardBytes: weights.shard.bytes } satisfies RankMemory & {
        type: string
      })
  }

  say({
    type: 'ready',
    ...node.introduction,
    ranges: plan[options.rank],
    backend: backend.name,
    description: backend.description,
    loadMs,
    shardMs: weights.shardMs,
  })
  return {
    obey,
    stop: async () => {
      governor.stop()
      await linked?.checks?.close()
      await backend.close()
      weights.close()
      await node.stop()
      rmSync(options.folder, { recursive: true, force: true })
    },
  }
}

serveRank(start)
