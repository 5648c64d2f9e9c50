/** The `onnx` backend: onnxruntime-node on CPU, in a thread of its own. */
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { problemOf } from '../../../shared/errors.ts'
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { BackendOptions, Buffers } from '../../engine/backend.ts'
import { type Command, operations } from '../command.ts'
import { type Host, HostedBackend } from '../hosted-backend.ts'
import { Mailbox } from '../mailbox.ts'
import type { WorkerInput, WorkerReport } from './worker.ts'

const shared = (length: number): Float32Array => new Float32Array(new SharedArrayBuffer(length * 4))

/** What ends a thread early, and who is told of it. */
class Life {
  death: Error | undefined
  /** Fails what waits for the thread. */
  abandon: (error: Error) => void = () => {}

  constructor(worker: Worker) {
    worker.on('error', (error) => this.#end(problemOf(error)))
    worker.on('exit', (code) => this.#end(`the compute thread ended (code ${code})`))
  }

  #end(problem: string): void {
    this.death ??= new Error(problem)
    this.abandon(this.death)
  }
}

const loaded = (port: MessagePort, life: Life, progress: (fraction: number) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    life.abandon = reject
    port.on('message', (report: WorkerReport) => {
      if ('progress' in report) progress(report.progress)
      else if ('ready' in report) resolve()
      else reject(new Error(report.failed))
    })
  })

/** Starts the thread and loads the shard. */
const startThread = async (options: BackendOptions, progress: (fraction: number) => void): Promise<Host> => {
  const mailbox = new Mailbox()
  const { port1, port2 } = new MessageChannel()
  const input: WorkerInput = { options, mailbox: mailbox.memory, port: port2 }
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    workerData: input,
    transferList: [port2],
    name: 'compute',
  })
  const life = new Life(worker)
  try {
    await loaded(port1, life, progress)
  } catch (error) {
    port1.close()
    await worker.terminate()
    throw error
  }
  port1.unref()
  return hostOf({ options, mailbox, port: port1, worker, life })
}

interface Thread {
  readonly options: BackendOptions
  readonly mailbox: Mailbox
  readonly port: MessagePort
  readonly worker: Worker
  readonly life: Life
}

const hostOf = ({ options, mailbox, port, worker, life }: Thread): Host => {
  const call = (command: Command): Promise<void> =>
    new Promise((resolve, reject) => {
      if (life.death) return reject(life.death)
      life.abandon = reject
      mailbox.call(command).then(resolve, reject)
    })
  const plain = { layer: 0, rows: 0, firstRow: 0, slot: 0, spans: [] }
  return {
    description: `ONNX Runtime, CPU, ${options.threads} thread${options.threads === 1 ? '' : 's'}`,
    pid: process.pid,
    hasFixedThreads: true, // of each session
    call,
    share: async (rows) => {
      const { shape, ranges } = options
      const buffers: Buffers = {
        hidden: shared(rows * shape.hidden),
        partial: shared(rows * shape.hidden),
        logits: shared(rows * sizeOf(ranges.vocab)),
      }
      port.postMessage(buffers)
      await call({ ...plain, operation: operations.buffers })
      return buffers
    },
    get dead() {
      return life.death !== undefined
    },
    close: async () => {
      await call({ ...plain, operation: operations.close }).catch(() => {})
      port.close()
      await worker.terminate()
    },
  }
}

/**
 * @param progress called with 0..1 while sessions load
 * @throws MeshError `backendFailed`
 */
export const createOnnxBackend = (
  options: BackendOptions,
  progress: (fraction: number) => void = () => {},
): Promise<HostedBackend> => HostedBackend.start('onnx', () => startThread(options, progress))
