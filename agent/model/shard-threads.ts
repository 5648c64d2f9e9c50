/**
 * Makes the matrices of a shard on several cores, and none of them the main one: a 4-bit search over a large matrix
 * takes seconds, in which the agent would answer nobody. Each thread takes the next piece that nobody took yet.
 */
import { Worker } from 'node:worker_threads'
import { type ErrorReport, MeshError } from '../../shared/errors.ts'
import type { ShardContent } from './shard-writer.ts'

export interface ShardThreadInput {
  readonly content: ShardContent
  readonly modelFolder: string
  /** Exists already. */
  readonly shardFile: string
  /** i32 [1]: index of the next piece. */
  readonly next: SharedArrayBuffer
}

/** `system`: code of the operating system, as `ENOSPC`. */
export type ShardThreadReport = { readonly bytes: number } | { readonly failed: ErrorReport; readonly system?: string }

const errorOf = ({ failed, system }: Extract<ShardThreadReport, { failed: unknown }>): Error =>
  system === undefined ? MeshError.fromReport(failed) : Object.assign(new Error(failed.message), { code: system })

const finished = (thread: Worker, onBytes: (bytes: number) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    thread.on('message', (report: ShardThreadReport) => ('bytes' in report ? onBytes(report.bytes) : reject(errorOf(report))))
    thread.on('error', reject)
    thread.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a thread that makes the shard ended with code ${code}`))))
  })

export interface ThreadedWork {
  readonly threads: number
  /** Ends the threads where they are. */
  readonly signal?: AbortSignal
  /** Called with the size of each piece that is written. */
  readonly onBytes: (bytes: number) => void
}

/** @throws MeshError `safetensorsInvalid` and what else reading a model throws | Error with the code of the system | the reason of the signal */
export const writePiecesInThreads = async (input: Omit<ShardThreadInput, 'next'>, { threads, signal, onBytes }: ThreadedWork): Promise<void> => {
  signal?.throwIfAborted()
  const workerData: ShardThreadInput = { ...input, next: new SharedArrayBuffer(4) }
  const running = Array.from({ length: threads }, () => new Worker(new URL('./shard-thread.ts', import.meta.url), { workerData, name: 'shard' }))
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
