/**
 * Sessions of onnxruntime-node; the only importer of it.
 *
 * They are driven through the package's native binding: it runs at once in the calling thread, while the public
 * `InferenceSession.run` wraps the same call in a promise and a turn of the event loop, thousands of times a second.
 * The binding is not a public interface, so the package's version is pinned exactly.
 */
import type { InferenceSession, OnnxValue } from 'onnxruntime-node'
import { binding, initOrt } from 'onnxruntime-node/dist/binding.js'

/** An input of a graph: a view of memory of ours, not a copy. */
export interface Value {
  readonly type: 'float32' | 'float16' | 'int64' | 'int32'
  readonly data: Float32Array | Uint16Array | BigInt64Array | Int32Array
  readonly dims: readonly number[]
  readonly location: 'cpu'
}

export type Feeds = Readonly<Record<string, Value>>

/** Outputs by name, each in memory of its own. */
export type Outputs<Name extends string> = Readonly<Record<Name, Float32Array | Float16Array>>

/** A loaded graph with these outputs. */
export interface Session<Name extends string = 'y'> {
  /** Computes in the calling thread. @throws Error of ONNX Runtime */
  run(feeds: Feeds): Outputs<Name>
  close(): void
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
export const openSession = <Name extends string>(
  modelFile: string,
  threads: number,
  outputs: readonly Name[],
): Session<Name> => {
  initOrt()
  const session = new binding.InferenceSession()
  session.loadModel(modelFile, sessionOptions(threads))
  const fetches = Object.fromEntries(outputs.map((name) => [name, null]))
  return {
    run: (feeds) => {
      const results = session.run(feeds as unknown as Record<string, OnnxValue>, fetches, {}) as unknown as Record<
        Name,
        { readonly data: Float32Array | Float16Array }
      >
      return Object.fromEntries(outputs.map((name) => [name, results[name].data])) as Outputs<Name>
    },
    close: () => session.dispose(),
  }
}

export const f32 = (data: Float32Array, dims: readonly number[]): Value => ({
  type: 'float32',
  data,
  dims,
  location: 'cpu',
})
/** The binding wants the bits of f16 numbers. */
export const f16 = (data: Float16Array, dims: readonly number[]): Value => ({
  type: 'float16',
  data: new Uint16Array(data.buffer, data.byteOffset, data.length),
  dims,
  location: 'cpu',
})
export const i64 = (numbers: readonly number[], dims: readonly number[]): Value => ({
  type: 'int64',
  data: BigInt64Array.from(numbers, BigInt),
  dims,
  location: 'cpu',
})
export const i32 = (number: number): Value => ({
  type: 'int32',
  data: Int32Array.of(number),
  dims: [1],
  location: 'cpu',
})

/** Opens a graph after writing it beside the weights. */
export type OpenGraph = <Name extends string>(
  name: string,
  bytes: Uint8Array,
  outputs: readonly Name[],
) => Session<Name>
