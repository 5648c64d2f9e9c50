/** Sessions of onnxruntime-node; the only importer of it. */
import { InferenceSession, Tensor } from 'onnxruntime-node'

export type Feeds = Readonly<Record<string, Tensor>>

/** A loaded graph. */
export interface Session {
  /** Outputs by name, each in memory of its own. */
  run(feeds: Feeds): Promise<Readonly<Record<string, Float32Array>>>
  close(): Promise<void>
}

/**
 * Options that matter on CPU (each measured): one sequential pool per session; no memory arena (it keeps the peak of
 * every prefill); pools that neither spin while idle nor keep a core of the owner's machine busy.
 */
const sessionOptions = (threads: number): InferenceSession.SessionOptions => ({
  executionProviders: ['cpu'],
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  executionMode: 'sequential',
  graphOptimizationLevel: 'all',
  enableCpuMemArena: false,
  logSeverityLevel: 3,
  extra: { session: { force_spinning_stop: '1', intra_op: { allow_spinning: '0' } } },
})

/** Loads a model file; weights beside it are mapped, not copied. */
export const openSession = async (modelFile: string, threads: number): Promise<Session> => {
  const session = await InferenceSession.create(modelFile, sessionOptions(threads))
  return {
    run: async (feeds) => {
      const outputs = await session.run(feeds)
      return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data as Float32Array]))
    },
    close: () => session.release(),
  }
}

export const f32 = (data: Float32Array, dims: readonly number[]): Tensor => new Tensor('float32', data, dims)
export const i64 = (...numbers: number[]): Tensor => new Tensor('int64', BigInt64Array.from(numbers.map(BigInt)), [numbers.length])
export const i64Row = (start: number, count: number): Tensor => new Tensor('int64', BigInt64Array.from({ length: count }, (_, i) => BigInt(start + i)), [1, count])
export const i32 = (number: number): Tensor => new Tensor('int32', Int32Array.of(number), [1])
export const bool = (flag: boolean): Tensor => new Tensor('bool', Uint8Array.of(flag ? 1 : 0), [1])
