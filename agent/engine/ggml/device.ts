/** The CPU device of ggml: its backend, its own thread pool, and where weights can live. */
import { MeshError } from '../../../shared/errors.ts'
import type { Ggml, Pointer } from './library.ts'

const cpuDevice = 0 // GGML_BACKEND_DEVICE_TYPE_CPU
/** Bytes that `ggml_threadpool_params` may take, and where its `poll` field lies (GGML_MAX_N_THREADS is 512). */
const paramsBytes = 1024
const pollOffset = 520
/**
 * How long idle threads of the pool look for the next graph before they sleep, 0..100: rounds of 131,072 looks, 2 to 6
 * ms. Longer than a sum between local ranks takes; over slow links, and between jobs, cores go to whoever needs them.
 * Zero costs up to 2 ms a call on a busy machine.
 */
const poll = 1

export interface GgmlDevice {
  readonly backend: Pointer
  readonly device: Pointer
  /** Buffer types by preference: repacked layouts first, they are three to four times as fast. */
  readonly bufferTypes: readonly { readonly name: string; readonly type: Pointer }[]
  readonly plain: Pointer
  readonly description: string
  /** Threads of the graphs that follow, the calling one included. */
  useThreads(count: number): void
  close(): void
}

const preference = ['AMX', 'CPU_REPACK', 'CPU_KLEIDIAI']

/** @param threads compute threads, the calling one included; always explicit, the library's default oversubscribes */
export const openDevice = (ggml: Ggml, threads: number): GgmlDevice => {
  const device = ggml.backend_dev_by_type(cpuDevice) as Pointer | null
  if (device === null) throw new MeshError('backendFailed', { backend: 'ggml', problem: 'no CPU device' })
  const registry = ggml.backend_dev_backend_reg(device)
  const backend = ggml.backend_dev_init(device, null)
  const need = (name: string, result: string, args: readonly string[]): NonNullable<ReturnType<Ggml['proc']>> => {
    const found = ggml.proc(registry, name, result, args)
    if (!found) throw new MeshError('backendFailed', { backend: 'ggml', problem: `${name} is missing` })
    return found
  }
  const newPool = need('ggml_threadpool_new', 'void*', ['void*'])
  const freePool = need('ggml_threadpool_free', 'void', ['void*'])
  const setPool = need('ggml_backend_cpu_set_threadpool', 'void', ['void*', 'void*'])
  const setThreads = need('ggml_backend_set_n_threads', 'void', ['void*', 'int'])
  let pool: Pointer | undefined
  /** A pool of just these: the spare threads of a larger one would be woken for every graph. */
  const useThreads = (count: number): void => {
    const before = pool
    const params = new Uint8Array(paramsBytes)
    ggml.threadpool_params_init(params, count)
    new DataView(params.buffer).setUint32(pollOffset, poll, true)
    pool = newPool(params) as Pointer
    setPool(backend, pool)
    setThreads(backend, count)
    if (before !== undefined) freePool(before)
  }
  useThreads(threads)
  const extraTypes = ggml.proc(registry, 'ggml_backend_dev_get_extra_bufts', 'void*', ['void*'])?.(device) as
    | Pointer
    | null
    | undefined
  const plain = ggml.backend_dev_buffer_type(device)
  const extra = (extraTypes ? ggml.list(extraTypes) : []).map((type) => ({ name: ggml.backend_buft_name(type), type }))
  const rank = (name: string): number => (preference.includes(name) ? preference.indexOf(name) : preference.length)
  return {
    backend,
    device,
    plain,
    bufferTypes: [...extra.toSorted((a, b) => rank(a.name) - rank(b.name)), { name: 'CPU', type: plain }],
    description: ggml.backend_dev_description(device),
    useThreads,
    close: () => {
      ggml.backend_free(backend)
      freePool(pool)
    },
  }
}
