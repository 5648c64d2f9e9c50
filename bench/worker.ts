/** One rank of a benchmark: a process with a libp2p node, a shard and an engine, told what to do by `ring.ts`. */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { type CollectiveSettings, createCollective } from '../agent/collective/chooser.ts'
import { soloCollective } from '../agent/collective/collective.ts'
import { type BackendChoice, createBackend } from '../agent/engine/choose-backend.ts'
import { createForward } from '../agent/engine/forward.ts'
import { startFollower } from '../agent/generation/follower.ts'
import { Leader } from '../agent/generation/leader.ts'
import { Gate } from '../agent/network/gate.ts'
import { createNode } from '../agent/network/node.ts'
import { RingLinks } from '../agent/network/ring-links.ts'
import { deviceIdOf } from '../shared/identity/device-key.ts'
import { keyPairFromSeed } from '../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../shared/identity/pool-certificate.ts'
import { silentLogger } from '../shared/log.ts'
import { planShards } from '../shared/plan/shard-plan.ts'
import type { ModelShape, Quant } from '../shared/schema/model.ts'
import type { RingEpoch } from '../shared/schema/ring.ts'
import { randomEmbedding, writeRandomShard } from './random-shard.ts'

export interface WorkerOptions {
  readonly rank: number
  readonly worldSize: number
  /** Hex. */
  readonly rootSeed: string
  readonly deviceSeed: string
  readonly shape: ModelShape
  readonly quant: Quant
  readonly backend: BackendChoice
  readonly threads: number
  readonly spinMs: number
  readonly collective: CollectiveSettings
  readonly folder: string
}

export type Order = { readonly type: 'connect'; readonly ring: RingEpoch } | { readonly type: 'run'; readonly promptTokens: number; readonly tokens: number } | { readonly type: 'measure' } | { readonly type: 'stop' }

const say = (message: object): void => void process.send?.(message)

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

const start = async (options: WorkerOptions): Promise<void> => {
  const { rank, worldSize, shape, quant, backend: choice, threads, spinMs, folder, collective } = options
  const logger = silentLogger()
  const seed = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'))
  const root = keyPairFromSeed(seed(options.rootSeed))
  const key = keyPairFromSeed(seed(options.deviceSeed))
  const certificate = issueCertificate(root, { deviceId: deviceIdOf(key), role: 'member' }, Date.now())
  const node = await createNode({ key, listen: ['/ip4/127.0.0.1/tcp/0'], announce: [], relays: [], logger })
  const gate = new Gate(node, { rootKeyOf: (id) => (id === poolIdOf(root.publicKey) ? root.publicKey : undefined), certificateOf: () => certificate }, { now: Date.now, logger })
  const links = new RingLinks({ node, gate, stepTimeoutMs: 120_000, connectTimeoutMs: 120_000, logger })
  const ranges = planShards(shape, Array.from({ length: worldSize }, () => 1))[rank]
  const shard = writeRandomShard(folder, shape, ranges, quant)
  const loading = performance.now()
  const backend = await createBackend(choice, { shape, ranges, quant, normEpsilon: 1e-5, ropeTheta: 10_000, threads, spinMs, shard }, { logger, progress: () => {} })
  const loadMs = performance.now() - loading
  const delay = monitorEventLoopDelay({ resolution: 1 })
  let leader: Leader | undefined
  let sent = (): number => 0

  process.on('message', (order: Order) => void obey(order))
  const obey = async (order: Order): Promise<void> => {
    if (order.type === 'connect') {
      const channel = worldSize > 1 ? await links.open({ ring: order.ring, rank, signal: new AbortController().signal }) : undefined
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
    else if (order.type === 'stop') {
      await backend.close()
      gate.stop()
      await node.stop()
      rmSync(folder, { recursive: true, force: true })
      process.disconnect()
    }
  }
  say({ type: 'ready', backend: backend.name, description: backend.description, loadMs, peerId: node.peerId, addresses: node.addresses(), deviceId: deviceIdOf(key), ranges })
}

process.once('message', (options: WorkerOptions) => {
  start(options).catch((error: unknown) => {
    say({ type: 'failed', problem: error instanceof Error ? error.message : String(error) })
    process.disconnect()
  })
})
