/** The `onnx` backend: onnxruntime-node on CPU, in a thread of its own. */
import { MessageChannel, Worker } from 'node:worker_threads'
import { problemOf } from '../../../shared/errors.ts'
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { BackendOptions, Buffers } from '../../engine/backend.ts'
import { type Command, operations } from '../command.ts'
import { type Host, HostedBackend } from '../hosted-backend.ts'
import { Mailbox } from '../mailbox.ts'
import type { WorkerInput, WorkerReport } from './worker.ts'

const shared = (length: number): Float32Array => new Float32Array(new SharedArrayBuffer(length * 4))

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
  let death: Error | undefined
  /** Fails what waits for the thread. */
  let abandon: (error: Error) => void = () => {}
  const died = (problem: string): void => {
    death ??= new Error(problem)
    abandon(death)
  }
  worker.on('error', (error) => died(problemOf(error)))
  worker.on('exit', (code) => died(`the compute thread ended (code ${code})`))
  try {
    await new Promise<void>((resolve, reject) => {
      abandon = reject
      port1.on('message', (report: WorkerReport) => {
        if ('progress' in report) progress(report.progress)
        else if ('ready' in report) resolve()
        else reject(new Error(report.failed))
      })
    })
  } catch (error) {
    port1.close()
    await worker.terminate()
    throw error
  }
  port1.unref()

  const call = (command: Command): Promise<void> =>
    new Promise((resolve, reject) => {
      if (death) return reject(death)
      abandon = reject
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
      port1.postMessage(buffers)
      await call({ ...plain, operation: operations.buffers })
      return buffers
    },
    get dead() {
      return death !== undefined
    },
    close: async () => {
      await call({ ...plain, operation: operations.close }).catch(() => {})
      port1.close()
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
