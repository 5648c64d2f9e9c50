/** One rank of the benchmark of inference: links, shard, engine and token loop as in an agent, told what to do over IPC. */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { type CollectiveSettings, createCollective } from '../agent/collective/chooser.ts'
import { soloCollective } from '../agent/collective/collective.ts'
import { type BackendChoice, createBackend } from '../agent/engine/choose-backend.ts'
import { createForward } from '../agent/engine/forward.ts'
import { startFollower } from '../agent/generation/follower.ts'
import { Leader } from '../agent/generation/leader.ts'
import { silentLogger } from '../shared/log.ts'
import { planShards } from '../shared/plan/shard-plan.ts'
import type { Timings } from '../shared/schema/job.ts'
import type { ModelShape, Quant } from '../shared/schema/model.ts'
import { randomEmbedding, writeRandomShard } from './random-shard.ts'
import { createRankNode, type RankIdentity, type RankProgram, say, serveRank } from './rank-node.ts'
import type { RingOrder } from './ranks.ts'

export interface InferenceSettings {
  readonly shape: ModelShape
  readonly quant: Quant
  readonly backend: BackendChoice
  readonly threads: number
  readonly spinMs: number
  readonly collective: CollectiveSettings
}

export type InferenceOrder = RingOrder | { readonly type: 'run'; readonly promptTokens: number; readonly tokens: number } | { readonly type: 'measure' }

export interface RunResult {
  readonly timings: Timings
  readonly tokens: number
  readonly bytesSent: number
  readonly loopDelayP99Ms: number
}

export interface RankMemory {
  readonly residentBytes: number
  readonly shardBytes: number
}

/** Resident bytes of this process and its children (the compute process of ggml). */
const residentBytes = (): number => {
  const read = (pid: string, file: string): string => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, 'utf8')
    } catch {
      return ''
    }
  }
  const children = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && read(name, 'stat').split(') ')[1]?.split(' ')[1] === String(process.pid))
  return [String(process.pid), ...children].reduce((sum, pid) => sum + 1024 * Number(/VmRSS:\s+(\d+)/.exec(read(pid, 'status'))?.[1] ?? 0), 0)
}

const start = async (options: InferenceSettings & RankIdentity): Promise<RankProgram<InferenceOrder>> => {
  const { rank, worldSize, shape, quant, backend: choice, threads, spinMs, folder, collective } = options
  const logger = silentLogger()
  const node = await createRankNode(options)
  const ranges = planShards(shape, Array.from({ length: worldSize }, () => 1))[rank]
  const shard = writeRandomShard(folder, shape, ranges, quant)
  const loading = performance.now()
  const backend = await createBackend(choice, { shape, ranges, quant, normEpsilon: 1e-5, ropeTheta: 10_000, threads, spinMs, shard }, { logger, progress: () => {} })
  const loadMs = performance.now() - loading
  const delay = monitorEventLoopDelay({ resolution: 1 })
  let leader: Leader | undefined
  let sent = (): number => 0

  const obey = async (order: InferenceOrder): Promise<void> => {
    if (order.type === 'connect') {
      const channel = worldSize > 1 ? await node.links.open({ ring: order.ring, rank, signal: new AbortController().signal }) : undefined
      sent = () => channel?.bytesSent ?? 0
      const summing = channel && createCollective(channel)
      summing?.use(collective)
      const engine = createForward({ shape, ranges, backend, collective: summing ?? soloCollective, embed: randomEmbedding(shape.hidden) })
      if (rank === 0) leader = new Leader({ engine, channel, settings: collective, decoder: { decode: () => '' } })
      else if (channel) startFollower({ engine, channel, logger, onSettings: () => {}, onLost: () => process.disconnect(), onBusy: () => {}, onWork: () => {} })
      say({ type: 'connected' })
    } else if (order.type === 'run' && leader) {
      const before = sent()
      delay.reset()
      delay.enable()
      const { timings, tokens } = await leader.run({
        jobId: 'bench', tokens: Array.from({ length: order.promptTokens }, (_, i) => (i * 131 + 7) % shape.vocab), maxTokens: order.tokens, stop: [], endTokens: [], queuedMs: 0,
        sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 }, signal: new AbortController().signal, onToken: () => {},
      })
      delay.disable()
      say({ type: 'result', timings, tokens: tokens.length, bytesSent: sent() - before, loopDelayP99Ms: delay.percentile(99) / 1e6 - 1 })
    } else if (order.type === 'measure') say({ type: 'measured', residentBytes: residentBytes(), shardBytes: shard.bytes })
  }

  say({ type: 'ready', ...node.introduction, ranges, backend: backend.name, description: backend.description, loadMs })
  return {
    obey,
    stop: async () => {
      await backend.close()
      await node.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

serveRank(start)
