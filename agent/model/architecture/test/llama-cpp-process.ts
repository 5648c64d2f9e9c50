/**
 * Child process around `libllama` (llama.cpp itself) of `@node-llama-cpp/<platform>`: reads requests as lines of JSON
 * {file, tokens, context}, answers with lines of JSON {logits} (base64 of f32 [tokens, vocab]) or {problem}.
 */
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { findGgml } from '../../../engine/ggml/library.ts'

type Native = (...args: readonly unknown[]) => unknown
interface Koffi {
  load(file: string, options?: object): { func(name: string, result: unknown, args: readonly unknown[]): Native }
  struct(name: string, fields: Readonly<Record<string, string>>): unknown
  proto(result: string, args: readonly string[]): unknown
  pointer(type: unknown): unknown
  register(callback: (...args: readonly unknown[]) => void, type: unknown): bigint
  decode(pointer: unknown, type: string, count: number): Float32Array
}

/** `llama_model_params` and `llama_context_params` of version 0.5.0. */
const modelParams = {
  devices: 'void*',
  tensor_buft_overrides: 'void*',
  n_gpu_layers: 'int32',
  split_mode: 'int32',
  load_mode: 'int32',
  lazy_mode: 'int32',
  main_gpu: 'int32',
  tensor_split: 'void*',
  progress_callback: 'void*',
  progress_callback_user_data: 'void*',
  kv_overrides: 'void*',
  vocab_only: 'bool',
  check_tensors: 'bool',
  use_extra_bufts: 'bool',
  no_host: 'bool',
  no_alloc: 'bool',
  load_mtp: 'bool',
}
const ofType = (type: string, names: string): Record<string, string> =>
  Object.fromEntries(names.split(' ').map((name) => [name, type]))
const contextParams = {
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
const batch = {
  n_tokens: 'int32',
  token: 'int32*',
  embd: 'void*',
  pos: 'void*',
  n_seq_id: 'void*',
  seq_id: 'void*',
  logits: 'int8*',
}

const open = () => {
  const koffi = createRequire(import.meta.url)('koffi') as Koffi
  const { folder } = findGgml()
  const fileOf = (name: RegExp): string => join(folder, readdirSync(folder).find((file) => name.test(file)) ?? '')
  const [model, context] = [
    koffi.struct('llama_model_params', modelParams),
    koffi.struct('llama_context_params', contextParams),
  ]
  const tokens = koffi.struct('llama_batch', batch)
  const ggml = koffi.load(fileOf(/^(lib)?ggml\..*(so|dylib|dll)$/))
  ggml.func('ggml_backend_load_all_from_path', 'void', ['str'])(folder)
  const library = koffi.load(fileOf(/^(lib)?llama\..*(so|dylib|dll)$/))
  const log = koffi.register(
    (_level, text) => lines.push(String(text)),
    koffi.pointer(koffi.proto('void', ['int', 'str', 'void*'])),
  )
  const lines: string[] = []
  library.func('llama_log_set', 'void', ['void*', 'void*'])(log, null)
  library.func('llama_backend_init', 'void', [])()
  return {
    lines,
    floats: (pointer: unknown, count: number) => koffi.decode(pointer, 'float', count),
    modelDefaults: library.func('llama_model_default_params', model, []) as () => Record<string, unknown>,
    contextDefaults: library.func('llama_context_default_params', context, []) as () => Record<string, unknown>,
    load: library.func('llama_model_load_from_file', 'void*', ['str', model]),
    init: library.func('llama_init_from_model', 'void*', ['void*', context]),
    decode: library.func('llama_decode', 'int32', ['void*', tokens]),
    logits: library.func('llama_get_logits', 'void*', ['void*']),
    vocab: library.func('llama_model_get_vocab', 'void*', ['void*']),
    vocabSize: library.func('llama_vocab_n_tokens', 'int32', ['void*']),
    freeContext: library.func('llama_free', 'void', ['void*']),
    freeModel: library.func('llama_model_free', 'void', ['void*']),
  }
}

interface Request {
  readonly file: string
  readonly tokens: readonly number[]
  readonly context: number
}

const answer = (llama: ReturnType<typeof open>, { file, tokens, context }: Request): object => {
  llama.lines.length = 0
  const model = llama.load(file, { ...llama.modelDefaults(), n_gpu_layers: 0, use_extra_bufts: false })
  const problem = (): object => ({ problem: llama.lines.join('').slice(-2000) })
  if (!model) return problem()
  const size = tokens.length
  const session = llama.init(model, {
    ...llama.contextDefaults(),
    n_ctx: context,
    n_batch: size,
    n_ubatch: size,
    n_threads: 1,
    n_threads_batch: 1,
    // softmax in f32, and caches too
    flash_attn_type: 0,
    type_k: 0,
    type_v: 0,
  })
  try {
    if (!session) return problem()
    const failed = llama.decode(session, {
      n_tokens: size,
      token: Int32Array.from(tokens),
      embd: null,
      pos: null,
      n_seq_id: null,
      seq_id: null,
      logits: new Int8Array(size).fill(1),
    })
    if (failed !== 0) return problem()
    const vocab = llama.vocabSize(llama.vocab(model)) as number
    const values = Float32Array.from(llama.floats(llama.logits(session), size * vocab))
    return { logits: Buffer.from(values.buffer).toString('base64') }
  } finally {
    if (session) llama.freeContext(session)
    llama.freeModel(model)
  }
}

const llama = open()
for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(answer(llama, JSON.parse(line) as Request))}\n`)
