/** One rank of the benchmark of inference: links, shard, engine and token loop as in an agent, told what to do over IPC. */
import { rmSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { assembleRank, type CarrierChoice } from '../agent/rank/assemble-rank.ts'
import { type CollectiveSettings, costOf, slowestOf } from '../agent/collective/chooser.ts'
import { openResidual } from '../agent/engine/residual.ts'
import { createBackend } from '../agent/compute/choose-backend.ts'
import type { Engine } from '../agent/engine/engine.ts'
import { ThreadGovernor } from '../agent/daemon/thread-governor.ts'
import { wantedThreads } from '../agent/engine/wanted-threads.ts'
import { startFollower } from '../agent/generation/follower.ts'
import { Leader } from '../agent/generation/leader.ts'
import { silentLogger } from '../shared/log.ts'
import { planShards } from '../shared/plan/shard-plan.ts'
import type { Timings } from '../shared/schema/job.ts'
import type { Carrier, RingEpoch } from '../shared/schema/ring.ts'
import { type BenchChecks, openChecks } from './rank-checks.ts'
import { type BatchOrder, type BatchRank, greedy, promptOf, runBatch } from './batch.ts'
import { type CpuMs, cpuMeter, residentBytes } from './process-figures.ts'
import { createRankNode, type RankIdentity, type RankProgram, routeOf, say, serveRank } from './rank-node.ts'
import type { RingOrder } from './ranks.ts'
import { openWeights, type WeightSettings } from './weights.ts'

export interface InferenceSettings extends WeightSettings {
  /** 0: as an agent does, as many as there are free cores. */
  readonly threads: number
  readonly spinMs: number
  readonly collective: CollectiveSettings
  readonly carrier: CarrierChoice
  /** Ranks check each other's sums when they are told to; wants a model folder. */
  readonly spotChecks?: boolean
}

export type InferenceOrder =
  | RingOrder
  | ({ readonly type: 'run' } & PromptOrder)
  | ({ readonly type: 'batch' } & BatchOrder)
  | { readonly type: 'measure' }
  /** Answered when no check is under way and nothing is being cut. */
  | { readonly type: 'checks'; readonly on: boolean }

export interface PromptOrder {
  readonly promptTokens: number
  readonly tokens: number
}

/** What rank 0 did while it read the prompt, or while it wrote. */
export interface PhaseFigures {
  readonly wallMs: number
  /** Waiting for the backend. */
  readonly computeMs: number
  /** Waiting for sums, and starting them. */
  readonly collectiveMs: number
  readonly cpu: CpuMs
  readonly bytesSent: number
  /** 99th percentile. */
  readonly loopDelayMs: number
}

export interface RunResult {
  readonly timings: Timings
  readonly tokens: number
  readonly prefill: PhaseFigures
  readonly decode: PhaseFigures
}

export interface Batched {
  readonly type: 'batched'
  /** Milliseconds of all decode steps. */
  readonly decodeMs: number
}

/** What a rank says once it is linked. */
export interface Connected {
  readonly carrier: Carrier | undefined
}

export interface RankMemory {
  readonly residentBytes: number
  readonly shardBytes: number
}

interface MeasuredRank extends BatchRank {
  /** Of the steps since they were set to zero. */
  readonly times: { computeMs: number; collectiveMs: number }
  bytesSent(): number
}

const loopDelay = monitorEventLoopDelay({ resolution: 1 })
/** Above what the sampling itself takes. */
const loopDelayMs = (): number => Math.max(0, loopDelay.percentile(99) / 1e6 - 1)

/** An engine that tells how long its steps took. */
const timed = (engine: Engine, times: { computeMs: number; collectiveMs: number }): Engine => ({
  ...engine,
  step: async (input) => {
    const result = await engine.step(input)
    times.computeMs += result.times.computeMs
    times.collectiveMs += result.times.collectiveMs
    return result
  },
})

/** Starts a phase. @returns a function that ends it */
const beginPhase = ({ bytesSent: sent, times }: MeasuredRank): (() => PhaseFigures) => {
  const [started, before, cpu] = [performance.now(), sent(), cpuMeter()]
  Object.assign(times, { computeMs: 0, collectiveMs: 0 })
  loopDelay.reset()
  return () => ({
    wallMs: performance.now() - started,
    ...times,
    cpu: cpu(),
    bytesSent: sent() - before,
    loopDelayMs: loopDelayMs(),
  })
}

/** One prompt through the token loop of agents. */
const runPrompt = async (
  leader: Leader,
  rank: MeasuredRank,
  { promptTokens, tokens: maxTokens }: PromptOrder,
): Promise<RunResult> => {
  loopDelay.enable()
  let end = beginPhase(rank)
  let prefill: PhaseFigures | undefined
  const { timings, tokens } = await leader.run({
    jobId: 'bench',
    tokens: promptOf(promptTokens, rank.vocab),
    maxTokens,
    stop: [],
    endTokens: [],
    queuedMs: 0,
    sampling: greedy,
    signal: new AbortController().signal,
    onToken: () => {
      if (prefill) return
      prefill = end()
      end = beginPhase(rank)
    },
  })
  const decode = end()
  loopDelay.disable()
  return { timings, tokens: tokens.length, prefill: prefill ?? decode, decode }
}

const start = async (options: InferenceSettings & RankIdentity): Promise<RankProgram<InferenceOrder>> => {
  const { rank, worldSize, shape, quant, backend: choice, spinMs, folder } = options
  const logger = silentLogger()
  const node = await createRankNode(options)
  const plan = planShards(
    shape,
    Array.from({ length: worldSize }, () => 1),
  )
  const ranges = plan[rank]
  const weights = await openWeights(options, ranges)
  const { shard, embed, spec } = weights
  const loading = performance.now()
  const governor = new ThreadGovernor({ threads: options.threads, logger })
  const wanted = wantedThreads(shape, ranges)
  const threads = governor.threadsFor(wanted)
  const backend = await createBackend(
    choice,
    { spec, shape, ranges, quant, threads, spinMs, shard },
    { logger, progress: () => {} },
  )
  const loadMs = performance.now() - loading
  governor.govern(backend, wanted, threads)
  let checks: BenchChecks | undefined
  let measured: { readonly leader: Leader | undefined; readonly rank: MeasuredRank } | undefined

  const connect = async (ring: RingEpoch): Promise<void> => {
    const { signal } = new AbortController()
    const channel = worldSize > 1 ? await node.links.open({ ring, rank, signal }) : undefined
    const { engine: assembled, links } = await assembleRank({
      ring,
      backend,
      channel,
      carrier: options.carrier,
      logger,
      signal,
      shape,
      ranges,
      residual: openResidual(spec, shard),
      embed,
      route: routeOf(rank),
    })
    // of rank 0; the others are told with every job
    const settings: CollectiveSettings = {
      ...options.collective,
      link: costOf(slowestOf(links)),
      carrier: assembled.hasSockets ? 'sockets' : 'streams',
    }
    assembled.use(settings)
    const times = { computeMs: 0, collectiveMs: 0 }
    checks = options.spotChecks ? await openChecks({ ...options, plan }) : undefined
    const engine = timed(checks?.around(assembled) ?? assembled, times)
    // a rank that is lost fails the prompt on rank 0, and with it the benchmark
    if (channel && rank > 0)
      startFollower({
        engine,
        channel,
        logger,
        leaderName: 'rank 0',
        stepTimeoutMs: channel.stepTimeoutMs,
        onSettings: (told) => assembled.use(told),
        onLost: () => {},
        onBusy: () => {},
        onWork: () => {},
      })
    measured = {
      leader:
        rank === 0
          ? new Leader({
              engine,
              channel,
              members: plan.map((held, one) => ({ rank: one, name: `rank ${one}`, ranges: held })),
              settings: () => settings,
              decoder: { decode: () => '' },
            })
          : undefined,
      rank: {
        engine,
        channel,
        times,
        vocab: shape.vocab,
        bytesSent: () => (channel?.bytesSent ?? 0) + assembled.bytesSent,
      },
    }
    say({ type: 'connected', carrier: settings.carrier } satisfies Connected & { type: string })
  }

  const obey = async (order: InferenceOrder): Promise<void> => {
    if (order.type === 'connect') await connect(order.ring)
    else if (order.type === 'run' && measured?.leader)
      say({ type: 'result', ...(await runPrompt(measured.leader, measured.rank, order)) })
    else if (order.type === 'checks' && checks) say({ type: 'checks-set', checkMs: await checks.use(order.on) })
    else if (order.type === 'batch' && measured)
      say({ type: 'batched', decodeMs: await runBatch(measured.rank, order) } satisfies Batched)
    else if (order.type === 'measure')
      say({ type: 'measured', residentBytes: residentBytes(), shardBytes: shard.bytes } satisfies RankMemory & {
        type: string
      })
  }

  say({
    type: 'ready',
    ...node.introduction,
    ranges,
    backend: backend.name,
    description: backend.description,
    loadMs,
    shardMs: weights.shardMs,
  })
  return {
    obey,
    stop: async () => {
      governor.stop()
      await checks?.close()
      await backend.close()
      weights.close()
      await node.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

serveRank(start)
