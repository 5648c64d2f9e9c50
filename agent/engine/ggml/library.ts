/**
 * Binding to ggml's C interface (llama.cpp's kernels) in the prebuilt libraries of `@node-llama-cpp/<platform>`.
 * There is no ABI promise between releases: exact package and library versions are checked before the first call.
 * A wrong pointer or shape ends the process, so this runs only in a child process (`process-main.ts`).
 */
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MeshError, problemOf } from '../../../shared/errors.ts'

/** `ggml_type` of tensors. */
export const types = { f32: 0, f16: 1, q4_0: 2, q8_0: 8, i32: 26, i64: 27 } as const

/** Versions that this binding was tested with: package version, `ggml_version()`, `ggml_commit()`. */
const tested = [{ package: '3.22.1', version: '0.25.1', commit: '0ad4a86' }] as const

/** An untyped native address. */
export type Pointer = bigint
const nil = null

type Native = (...args: readonly unknown[]) => unknown
interface Koffi {
  load(file: string): { func(name: string, result: string, args: readonly string[]): Native }
  struct(name: string, fields: Readonly<Record<string, string>>): unknown
  proto(result: string, args: readonly string[]): unknown
  pointer(type: unknown): unknown
  register(callback: () => void, type: unknown): Pointer
  decode(pointer: Pointer, type: unknown): Native
  address(data: ArrayBufferView): Pointer
  view(pointer: Pointer, bytes: number): ArrayBuffer
}

export interface GgmlFiles {
  readonly folder: string
  readonly packageVersion: string
}

const require = createRequire(import.meta.url)

/** Where the libraries for this machine are. @throws MeshError `backendFailed` when they are not installed */
export const findGgml = (): GgmlFiles => {
  const platform = process.platform === 'win32' ? 'win' : process.platform === 'darwin' ? 'mac' : 'linux'
  const name = `${platform}-${process.arch}${platform === 'mac' && process.arch === 'arm64' ? '-metal' : ''}`
  try {
    const root = join(dirname(fileURLToPath(import.meta.resolve(`@node-llama-cpp/${name}`))), '..')
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
    return { folder: join(root, 'bins', name), packageVersion: version }
  } catch (error) {
    throw new MeshError(
      'backendFailed',
      { backend: 'ggml', problem: `@node-llama-cpp/${name} is not installed` },
      error,
    )
  }
}

/** True where the libraries are installed; whether they work is known after the self-test only. */
export const hasGgml = (): boolean => {
  try {
    findGgml()
    return true
  } catch {
    return false
  }
}

const p = 'void*'
const n = 'int64_t'
const z = 'size_t'

/** Functions of libggml-base by name without `ggml_`: [result, arguments]. */
const baseFunctions = {
  version: ['str', []],
  commit: ['str', []],
  init: [p, ['ggml_init_params']],
  free: ['void', [p]],
  tensor_overhead: [z, []],
  graph_overhead_custom: [z, [z, 'bool']],
  new_tensor_1d: [p, [p, 'int', n]],
  new_tensor_2d: [p, [p, 'int', n, n]],
  new_tensor_3d: [p, [p, 'int', n, n, n]],
  add: [p, [p, p, p]],
  mul_mat: [p, [p, p, p]],
  mul: [p, [p, p, p]],
  mul_mat_id: [p, [p, p, p, p]],
  add_id: [p, [p, p, p, p]],
  rms_norm: [p, [p, p, 'float']],
  norm: [p, [p, p, 'float']],
  scale: [p, [p, p, 'float']],
  scale_bias: [p, [p, p, 'float', 'float']],
  sqr: [p, [p, p]],
  tanh: [p, [p, p]],
  sigmoid: [p, [p, p]],
  silu: [p, [p, p]],
  relu: [p, [p, p]],
  softplus: [p, [p, p]],
  gelu_erf: [p, [p, p]],
  cont: [p, [p, p]],
  concat: [p, [p, p, p, 'int']],
  repeat_4d: [p, [p, p, n, n, n, n]],
  swiglu_split: [p, [p, p, p]],
  swiglu_oai: [p, [p, p, p, 'float', 'float']],
  ssm_conv: [p, [p, p, p]],
  gated_delta_net: [p, [p, p, p, p, p, p, p, n]],
  set_rows: [p, [p, p, p, p]],
  cpy: [p, [p, p, p]],
  permute: [p, [p, p, 'int', 'int', 'int', 'int']],
  reshape_2d: [p, [p, p, n, n]],
  reshape_3d: [p, [p, p, n, n, n]],
  view_1d: [p, [p, p, n, z]],
  view_2d: [p, [p, p, n, n, z, z]],
  view_3d: [p, [p, p, n, n, n, z, z, z]],
  rope_ext: [p, [p, p, p, p, 'int', 'int', 'int', 'float', 'float', 'float', 'float', 'float', 'float']],
  flash_attn_ext: [p, [p, p, p, p, p, 'float', 'float', 'float']],
  flash_attn_ext_add_sinks: ['void', [p, p]],
  new_graph_custom: [p, [p, z, 'bool']],
  build_forward_expand: ['void', [p, p]],
  nbytes: [z, [p]],
  row_size: [z, ['int', n]],
  backend_alloc_ctx_tensors_from_buft: [p, [p, p]],
  backend_alloc_ctx_tensors: [p, [p, p]],
  backend_tensor_alloc: ['int', [p, p, p]],
  backend_tensor_set: ['void', [p, p, z, z]],
  backend_cpu_buffer_from_ptr: [p, [p, z]],
  backend_buffer_free: ['void', [p]],
  backend_graph_compute: ['int', [p, p]],
  backend_free: ['void', [p]],
  log_set: ['void', [p, p]],
  backend_reg_get_proc_address: [p, [p, 'str']],
  backend_dev_backend_reg: [p, [p]],
  backend_dev_description: ['str', [p]],
  backend_dev_buffer_type: [p, [p]],
  backend_buft_name: ['str', [p]],
  backend_dev_init: [p, [p, p]],
  backend_dev_supports_op: ['bool', [p, p]],
  gallocr_new: [p, [p]],
  gallocr_free: ['void', [p]],
  gallocr_alloc_graph: ['bool', [p, p]],
  threadpool_params_init: ['void', [p, 'int']],
} as const satisfies Record<string, readonly [string, readonly string[]]>

/** Functions of libggml. */
const registryFunctions = {
  backend_load_all_from_path: ['void', ['str']],
  backend_dev_by_type: [p, ['int']],
} as const satisfies Record<string, readonly [string, readonly string[]]>

type Result<Kind> = Kind extends 'str'
  ? string
  : Kind extends 'bool'
    ? boolean
    : Kind extends 'int' | 'size_t'
      ? number
      : Kind extends 'void'
        ? undefined
        : Pointer
type Bound<Table extends Record<string, readonly [string, readonly string[]]>> = {
  readonly [Name in keyof Table]: (
    ...args: readonly (Pointer | number | boolean | string | null | ArrayBufferView | object)[]
  ) => Result<Table[Name][0]>
}

export interface Ggml extends Bound<typeof baseFunctions>, Bound<typeof registryFunctions> {
  readonly folder: string
  /** For the log: package and library versions. */
  readonly description: string
  readonly address: (data: ArrayBufferView) => Pointer
  /** A function that a backend's registry offers; absent in some builds. */
  proc(registry: Pointer, name: string, result: string, args: readonly string[]): Native | undefined
  /** Native memory, as it is now and will be. @param count of words of 8 bytes */
  words(pointer: Pointer, count: number): BigUint64Array
  /** Addresses in a null-terminated native list. */
  list(pointer: Pointer): Pointer[]
}

const libraryFile = (folder: string, pattern: RegExp): string => {
  const file = readdirSync(folder).find((name) => pattern.test(name))
  if (file === undefined)
    throw new MeshError('backendFailed', { backend: 'ggml', problem: `no library ${String(pattern)} in ${folder}` })
  return join(folder, file)
}

let opened: Ggml | undefined

/** The libraries, loaded once a process. @throws MeshError `backendFailed` when missing, or a version never tested */
export const openGgml = (): Ggml => {
  opened ??= load(findGgml())
  return opened
}

const load = ({ folder, packageVersion }: GgmlFiles): Ggml => {
  let koffi: Koffi
  try {
    koffi = require('koffi') as Koffi
  } catch (error) {
    throw new MeshError(
      'backendFailed',
      { backend: 'ggml', problem: `koffi cannot be loaded: ${problemOf(error)}` },
      error,
    )
  }
  const ending = '(so|dylib|dll)'
  const base = koffi.load(libraryFile(folder, new RegExp(`^(lib)?ggml-base\\.${ending}$`)))
  koffi.struct('ggml_init_params', { mem_size: z, mem_buffer: p, no_alloc: 'bool' })
  const bind = (library: typeof base, table: Readonly<Record<string, readonly [string, readonly string[]]>>): object =>
    Object.fromEntries(
      Object.entries(table).map(([name, [result, args]]) => [name, library.func(`ggml_${name}`, result, args)]),
    )
  const bound = bind(base, baseFunctions) as Bound<typeof baseFunctions>
  const version = { package: packageVersion, version: bound.version(), commit: bound.commit() }
  if (
    !tested.some(
      (known) =>
        known.package === version.package && known.version === version.version && known.commit === version.commit,
    )
  ) {
    throw new MeshError('backendFailed', {
      backend: 'ggml',
      problem: `version ${JSON.stringify(version)} was not tested with this release`,
    })
  }
  // one line a matrix otherwise; failed assertions go to stderr by another way and are still seen
  bound.log_set(
    koffi.register(() => {}, koffi.pointer(koffi.proto('void', ['int', 'str', 'void*']))),
    null,
  )
  const registry = koffi.load(libraryFile(folder, new RegExp(`^(lib)?ggml\\.(?!${ending}$).*${ending}$`)))
  const loader = bind(registry, registryFunctions) as Bound<typeof registryFunctions>
  loader.backend_load_all_from_path(folder) // picks the variant for this CPU
  const wordsAt = (pointer: Pointer, count: number): BigUint64Array =>
    new BigUint64Array(koffi.view(pointer, 8 * count))
  return {
    ...bound,
    ...loader,
    folder,
    description: `ggml ${version.version} (${version.commit})`,
    address: (data) => koffi.address(data),
    proc: (reg, name, result, args) => {
      const pointer = bound.backend_reg_get_proc_address(reg, name) as Pointer | null
      return pointer === nil ? undefined : koffi.decode(pointer, koffi.proto(result, args))
    },
    words: wordsAt,
    list: (pointer) => {
      const found: Pointer[] = []
      const words = wordsAt(pointer, 64)
      for (let index = 0; index < words.length && words[index] !== 0n; index++) found.push(words[index])
      return found
    },
  }
}
