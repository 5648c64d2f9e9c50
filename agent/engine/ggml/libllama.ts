/**
 * Binding to llama.cpp itself (`libllama`) in the same package as ggml: what text and speed are compared with, never
 * what serves. A wrong argument ends the process, so this runs only in child processes.
 */
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { MeshError } from '../../../shared/errors.ts'
import { openGgml, type Pointer } from './library.ts'

type Native = (...args: readonly unknown[]) => unknown
interface Koffi {
  load(file: string): { func(name: string, result: unknown, args: readonly unknown[]): Native }
  struct(name: string, fields: Readonly<Record<string, string>>): unknown
  proto(result: string, args: readonly string[]): unknown
  pointer(type: unknown): unknown
  register(callback: (...args: readonly unknown[]) => void, type: unknown): Pointer
  address(data: ArrayBufferView): Pointer
  view(pointer: Pointer, bytes: number): ArrayBuffer
}

const ofType = <Names extends string>(type: string, names: Names): Readonly<Record<Word<Names>, string>> =>
  Object.fromEntries(names.split(' ').map((name) => [name, type])) as Record<Word<Names>, string>
type Word<Text extends string> = Text extends `${infer First} ${infer Rest}` ? First | Word<Rest> : Text

/** `llama_model_params` of version 0.5.0. */
const modelFields = {
  ...ofType('void*', 'devices tensor_buft_overrides'),
  ...ofType('int32', 'n_gpu_layers split_mode load_mode lazy_mode main_gpu'),
  ...ofType('void*', 'tensor_split progress_callback progress_callback_user_data kv_overrides'),
  ...ofType('bool', 'vocab_only check_tensors use_extra_bufts no_host no_alloc load_mtp'),
}
/** `llama_context_params` of version 0.5.0. */
const contextFields = {
  ...ofType('uint32', 'n_ctx n_batch n_ubatch n_seq_max n_rs_seq n_outputs_max n_outputs_max_per_seq'),
  ...ofType('int32', 'n_threads n_threads_batch'),
  ...ofType('int32', 'ctx_type rope_scaling_type pooling_type attention_type flash_attn_type'),
  ...ofType('float', 'rope_freq_base rope_freq_scale yarn_ext_factor yarn_attn_factor yarn_beta_fast yarn_beta_slow'),
  yarn_orig_ctx: 'uint32',
  defrag_thold: 'float',
  ...ofType('void*', 'cb_eval cb_eval_user_data'),
  ...ofType('int32', 'type_k type_v'),
  ...ofType('void*', 'abort_callback abort_callback_data'),
  ...ofType('bool', 'embeddings offload_kqv no_perf op_offload swa_full kv_unified'),
  samplers: 'void*',
  n_samplers: 'size_t',
  ctx_other: 'void*',
}
const batchFields = {
  n_tokens: 'int32',
  token: 'int32*',
  embd: 'void*',
  pos: 'int32*',
  n_seq_id: 'int32*',
  seq_id: 'void*',
  logits: 'int8*',
}

/** The first fields of `llama_model_quantize_params`, and room for all others: only these are set. */
const quantizeFields = { nthread: 'int32', ftype: 'int32', others: 'uint8 [248]' }

type Params<Fields> = { readonly [Name in keyof Fields]?: number | boolean }

/** Tokens of one call, each with its place. */
export interface LlamaTokens {
  readonly tokens: readonly number[]
  readonly positions: readonly number[]
  /** Which sequence each belongs to; absent: all to the first. */
  readonly sequences?: readonly number[]
  /** After which of them logits are wanted. */
  readonly wanted: (index: number) => boolean
}

export interface LlamaContext {
  /**
   * Runs the tokens.
   * @returns logits of those that were wanted, f32 [wanted, vocab]: native memory, theirs until the next call
   * @throws Error with the last words of llama.cpp
   */
  decode(batch: LlamaTokens): Float32Array
  /** Forgets all sequences. */
  clear(): void
  close(): void
}

export interface LlamaModel {
  readonly vocab: number
  /** @throws Error with the last words of llama.cpp */
  context(threads: number, params: Params<typeof contextFields>): LlamaContext
  /** Tokens of a text, in which nothing is special. @throws Error with the last words of llama.cpp */
  tokenize(text: string): number[]
  close(): void
}

export interface Llama {
  /** @param file the GGUF file, or the first of its parts. @throws Error with the last words of llama.cpp */
  load(file: string, params?: Params<typeof modelFields>): LlamaModel
  /** Writes a file of F32 in other types, as `llama-quantize` does. @param type a `llama_ftype`. @throws Error likewise */
  quantize(file: string, into: string, type: number): void
}

const bind = (koffi: Koffi, folder: string) => {
  const file = readdirSync(folder).find((name) => /^(lib)?llama\..*(so|dylib|dll)$/.test(name))
  if (file === undefined)
    throw new MeshError('backendFailed', { backend: 'ggml', problem: `no library of llama.cpp in ${folder}` })
  const library = koffi.load(join(folder, file))
  const [model, context, batch] = [
    koffi.struct('llama_model_params', modelFields),
    koffi.struct('llama_context_params', contextFields),
    koffi.struct('llama_batch', batchFields),
  ]
  const quantization = koffi.struct('llama_model_quantize_params', quantizeFields)
  const p = 'void*'
  return {
    logSet: library.func('llama_log_set', 'void', [p, p]),
    init: library.func('llama_backend_init', 'void', []),
    modelDefaults: library.func('llama_model_default_params', model, []) as () => object,
    contextDefaults: library.func('llama_context_default_params', context, []) as () => object,
    load: library.func('llama_model_load_from_file', p, ['str', model]),
    newContext: library.func('llama_init_from_model', p, [p, context]),
    attach: library.func('llama_attach_threadpool', 'void', [p, p, p]),
    decode: library.func('llama_decode', 'int32', [p, batch]),
    logits: library.func('llama_get_logits', p, [p]) as (context: unknown) => Pointer,
    memory: library.func('llama_get_memory', p, [p]),
    clear: library.func('llama_memory_clear', 'void', [p, 'bool']),
    vocab: library.func('llama_model_get_vocab', p, [p]),
    vocabSize: library.func('llama_vocab_n_tokens', 'int32', [p]) as (vocab: unknown) => number,
    tokenize: library.func('llama_tokenize', 'int32', [p, p, 'int32', p, 'int32', 'bool', 'bool']),
    quantizeDefaults: library.func('llama_model_quantize_default_params', quantization, []) as () => object,
    quantize: library.func('llama_model_quantize', 'uint32', ['str', 'str', koffi.pointer(quantization)]),
    freeContext: library.func('llama_free', 'void', [p]),
    freeModel: library.func('llama_model_free', 'void', [p]),
  }
}

/** How to make pools of threads of ggml, as `llama-bench` does. */
const threadPools = () => {
  const ggml = openGgml()
  const registry = ggml.backend_dev_backend_reg(ggml.backend_dev_by_type(0))
  const need = (name: string, result: string): Native => {
    const found = ggml.proc(registry, name, result, ['void*'])
    if (!found) throw new MeshError('backendFailed', { backend: 'ggml', problem: `${name} is missing` })
    return found
  }
  const [create, free] = [need('ggml_threadpool_new', 'void*'), need('ggml_threadpool_free', 'void')]
  return {
    create: (threads: number): unknown => {
      const params = new Uint8Array(1024)
      ggml.threadpool_params_init(params, threads)
      return create(params)
    },
    free,
  }
}

interface Library {
  readonly koffi: Koffi
  readonly native: ReturnType<typeof bind>
  readonly pools: ReturnType<typeof threadPools>
  fail(what: string): never
}

const contextOf = ({ koffi, native, pools, fail }: Library, handle: unknown, vocab: number, threads: number) => {
  /** What the last batch points to: memory that no collection of garbage moves, and held until the next one. */
  let owners = new Int32Array(new ArrayBuffer(0))
  // one for all graphs, as llama.cpp's own benchmarks have it; it must outlive the context, which pauses it
  const pool = pools.create(threads)
  native.attach(handle, pool, pool)
  let seen: { readonly at: Pointer; readonly values: Float32Array } | undefined
  const logitsOf = (rows: number): Float32Array => {
    const at = native.logits(handle)
    if (seen?.at !== at || seen.values.length < rows * vocab)
      seen = { at, values: new Float32Array(koffi.view(at, 4 * rows * vocab)) }
    return seen.values.subarray(0, rows * vocab)
  }
  const context: LlamaContext = {
    decode: ({ tokens, positions, sequences, wanted }) => {
      const count = tokens.length
      // an array without a buffer of its own may lie where V8 moves it
      owners = new Int32Array(new ArrayBuffer(4 * count))
      if (sequences) owners.set(sequences)
      const first = koffi.address(owners)
      const flags = Int8Array.from(tokens, (_, index) => (wanted(index) ? 1 : 0))
      const failed = native.decode(handle, {
        n_tokens: count,
        token: Int32Array.from(tokens),
        embd: null,
        pos: Int32Array.from(positions),
        n_seq_id: new Int32Array(count).fill(1),
        seq_id: BigUint64Array.from(tokens, (_, index) => first + 4n * BigInt(index)),
        logits: flags,
      })
      if (failed !== 0) fail('did not decode')
      const rows = flags.reduce((sum, flag) => sum + flag, 0)
      return rows === 0 ? new Float32Array() : logitsOf(rows)
    },
    clear: () => void native.clear(native.memory(handle), false),
    close: () => {
      native.freeContext(handle)
      pools.free(pool)
    },
  }
  return context
}

/** The library, loaded. @throws MeshError `backendFailed` when it is missing, or a version never tested */
export const openLlama = (): Llama => {
  const { folder } = openGgml() // checks versions, loads the kernels
  const koffi = createRequire(import.meta.url)('koffi') as Koffi
  const native = bind(koffi, folder)
  const lines: string[] = []
  const log = koffi.register(
    (_level, text) => {
      lines.push(String(text))
      if (lines.length > 400) lines.splice(0, 200)
    },
    koffi.pointer(koffi.proto('void', ['int', 'str', 'void*'])),
  )
  native.logSet(log, null)
  native.init()
  const fail = (what: string): never => {
    throw new Error(`llama.cpp ${what}: ${lines.join('').slice(-2000)}`)
  }
  const library = { koffi, native, pools: threadPools(), fail }
  return {
    quantize: (file, into, type) => {
      lines.length = 0
      if (native.quantize(file, into, { ...native.quantizeDefaults(), nthread: 1, ftype: type }) !== 0)
        fail('did not quantise the file')
    },
    load: (file, params = {}) => {
      lines.length = 0
      const model = native.load(file, { ...native.modelDefaults(), n_gpu_layers: 0, ...params })
      if (!model) return fail('did not load the file')
      const vocab = native.vocabSize(native.vocab(model))
      return {
        vocab,
        tokenize: (text) => {
          const bytes = Buffer.from(text)
          // a token is a byte at least, but for those that are added
          const tokens = new Int32Array(bytes.length + 8)
          const sizes = [bytes.length, tokens.length] as const
          const count = native.tokenize(native.vocab(model), bytes, sizes[0], tokens, sizes[1], false, false) as number
          return count < 0 ? fail('did not read a text') : [...tokens.subarray(0, count)]
        },
        context: (threads, more) => {
          const given = { ...native.contextDefaults(), n_threads: threads, n_threads_batch: threads, ...more }
          const handle = native.newContext(model, given)
          return handle ? contextOf(library, handle, vocab, threads) : fail('made no context')
        },
        close: () => void native.freeModel(model),
      }
    },
  }
}
