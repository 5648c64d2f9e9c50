/**
 * Work on files of a model on several cores, and none of them the main one, on which the agent answers others. Each
 * thread takes the next part that nobody took yet, says how many bytes it did, or why it failed.
 */
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { type ErrorReport, MeshError, systemCodeOf } from '../../shared/errors.ts'

/** `system`: code of the operating system, as `ENOSPC`. */
type ThreadReport = { readonly bytes: number } | { readonly failed: ErrorReport; readonly system?: string }

export interface ThreadedWork {
  readonly threads: number
  /** Ends the threads where they are. */
  readonly signal?: AbortSignal
  /** Called with the size of each part that is done. */
  readonly onBytes?: (bytes: number) => void
}

interface Shared<Input> {
  readonly input: Input
  /** i32 [1]: index of the next part. */
  readonly next: SharedArrayBuffer
}

const errorOf = ({ failed, system }: Extract<ThreadReport, { failed: unknown }>): Error =>
  system === undefined ? MeshError.fromReport(failed) : Object.assign(new Error(failed.message), { code: system })

const finished = (thread: Worker, onBytes?: (bytes: number) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    thread.on('message', (report: ThreadReport) =>
      'bytes' in report ? onBytes?.(report.bytes) : reject(errorOf(report)),
    )
    thread.on('error', reject)
    thread.on('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`a thread that reads the model ended with code ${code}`)),
    )
  })

/**
 * Runs the module of `entry`, which calls `runThread`, in several threads until all parts are done.
 * @throws MeshError of a thread | Error with the code of the system | the reason of the signal
 */
export const runInThreads = async <Input>(
  entry: URL,
  input: Input,
  { threads, signal, onBytes }: ThreadedWork,
): Promise<void> => {
  signal?.throwIfAborted()
  const shared: Shared<Input> = { input, next: new SharedArrayBuffer(4) }
  const running = Array.from({ length: threads }, () => new Worker(entry, { workerData: shared, name: 'model' }))
  const aborted = Promise.withResolvers<never>()
  const giveUp = (): void => aborted.reject(signal?.reason)
  signal?.addEventListener('abort', giveUp)
  try {
    await Promise.race([aborted.promise, Promise.all(running.map((thread) => finished(thread, onBytes)))])
  } finally {
    signal?.removeEventListener('abort', giveUp)
    await Promise.all(running.map((thread) => thread.terminate()))
  }
}

const report = (message: ThreadReport): void => parentPort?.postMessage(message)

/**
 * What a thread does.
 * @param work gets the input and `take`, which gives the indexes of parts one after another; it yields bytes done
 */
export const runThread = <Input>(work: (input: Input, take: () => number) => Iterable<number>): void => {
  const { input, next } = workerData as Shared<Input>
  const counter = new Int32Array(next)
  try {
    for (const bytes of work(input, () => Atomics.add(counter, 0, 1))) report({ bytes })
  } catch (error) {
    report({ failed: MeshError.from(error).toReport(), system: systemCodeOf(error) })
  }
}
