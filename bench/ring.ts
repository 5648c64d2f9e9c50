/** Starts the ranks of a benchmark as processes, forms their ring, runs prompts, and collects the figures. */
import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { keyPairFromSeed } from '../shared/identity/keys.ts'
import { poolIdOf } from '../shared/identity/pool-certificate.ts'
import type { Timings } from '../shared/schema/job.ts'
import type { RingEpoch, RingMember } from '../shared/schema/ring.ts'
import type { Order, WorkerOptions } from './worker.ts'

export type RingOptions = Omit<WorkerOptions, 'rank' | 'worldSize' | 'rootSeed' | 'deviceSeed' | 'folder'> & { readonly workers: number }

export interface RunResult {
  readonly timings: Timings
  readonly tokens: number
  readonly bytesSent: number
  readonly loopDelayP99Ms: number
}

export interface Measured {
  readonly residentBytes: number
  readonly shardBytes: number
}

interface Ready {
  readonly backend: string
  readonly description: string
  readonly loadMs: number
  readonly peerId: string
  readonly addresses: string[]
  readonly deviceId: string
  readonly ranges: RingMember['ranges']
}

export interface BenchRing {
  readonly backend: string
  readonly description: string
  readonly loadMs: number
  run(promptTokens: number, tokens: number): Promise<RunResult>
  measure(): Promise<Measured[]>
  stop(): Promise<void>
}

const workerFile = fileURLToPath(new URL('./worker.ts', import.meta.url))

/** The next message of that type. @throws Error when the worker fails or ends */
const next = <T>(child: ChildProcess, type: string): Promise<T> =>
  new Promise((resolve, reject) => {
    const onMessage = (message: { type: string; problem?: string }): void => {
      if (message.type === 'failed') settle(() => reject(new Error(message.problem)))
      else if (message.type === type) settle(() => resolve(message as T))
    }
    const onExit = (code: number | null): void => settle(() => reject(new Error(`a worker ended (code ${code})`)))
    const settle = (action: () => void): void => {
      child.off('message', onMessage)
      child.off('exit', onExit)
      action()
    }
    child.on('message', onMessage)
    child.on('exit', onExit)
  })

export const startRing = async ({ workers, ...options }: RingOptions): Promise<BenchRing> => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-bench-'))
  const rootSeed = randomBytes(32).toString('hex')
  const children: ChildProcess[] = []
  const order = (child: ChildProcess, one: Order): void => void child.send(one)
  const stop = async (): Promise<void> => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      const ended = once(child, 'exit')
      if (child.connected) order(child, { type: 'stop' })
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
      await ended
      clearTimeout(timer)
    }
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const ready: Ready[] = []
    for (let rank = 0; rank < workers; rank++) {
      const child = fork(workerFile, { execArgv: ['--disable-warning=ExperimentalWarning'], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
      children.push(child)
      child.send({ ...options, rank, worldSize: workers, rootSeed, deviceSeed: randomBytes(32).toString('hex'), folder: join(folder, String(rank)) } satisfies WorkerOptions)
      ready.push(await next<Ready>(child, 'ready'))
    }
    const poolId = poolIdOf(keyPairFromSeed(new Uint8Array(Buffer.from(rootSeed, 'hex'))).publicKey)
    const ring: RingEpoch = {
      ringId: 'bench', poolId, epoch: 1, quant: options.quant, model: { modelId: 'bench', revision: '0'.repeat(64), weightBytes: 0, shape: options.shape },
      members: ready.map(({ deviceId, peerId, addresses, ranges }, rank) => ({ deviceId, name: `rank ${rank}`, peerId, addresses, rank, share: 1, ranges })),
    }
    const connected = children.map((child) => next(child, 'connected'))
    for (const child of children) order(child, { type: 'connect', ring })
    await Promise.all(connected)
    return {
      backend: ready[0].backend,
      description: ready[0].description,
      loadMs: Math.max(...ready.map(({ loadMs }) => loadMs)),
      run: (promptTokens, tokens) => {
        const result = next<RunResult>(children[0], 'result')
        order(children[0], { type: 'run', promptTokens, tokens })
        return result
      },
      measure: () => Promise.all(children.map((child) => {
        const measured = next<Measured>(child, 'measured')
        order(child, { type: 'measure' })
        return measured
      })),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
