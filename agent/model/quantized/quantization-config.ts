/** What `quantization_config` of config.json says of weights that were quantised before they came here. */
import { MeshError } from '../../../shared/errors.ts'
import { checkKeys, type Harmless, type KnownKeys } from '../config-keys.ts'
import { isJson, type Json, shown } from '../json.ts'

export type Quantization =
  /** Floats of 8 bits with a scale for each block, each row or the whole tensor. */
  | { readonly method: 'fp8'; readonly block: readonly [rows: number, columns: number] | undefined }
  /** Integers of 4 bits; `zeroOffset` is added to stored zero points. */
  | { readonly method: 'gptq'; readonly isSymmetric: boolean; readonly isOrdered: boolean; readonly zeroOffset: 0 | 1 }
  | { readonly method: 'awq' }
  /** Experts of gpt-oss. */
  | { readonly method: 'mxfp4' }

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '')

const isCount = (value: unknown): boolean => typeof value === 'number' && Number.isInteger(value) && value > 0
const group: Harmless = {
  says: 'a multiple of 32, or -1',
  holds: (value) => value === -1 || (isCount(value) && Number(value) % 32 === 0),
}
const flag: Harmless = [true, false]

const known = (ignored: string, harmless: Readonly<Record<string, Harmless>>): KnownKeys => ({
  read: new Set(['quant_method']),
  ignored: new Set(words(ignored)),
  harmless,
})

/** Which layers were left as they are is seen by their tensors; how the numbers were found changes nothing. */
const keys: Readonly<Record<Quantization['method'], KnownKeys>> = {
  // how activations are rounded is for those who multiply in 8 bits: here they stay as they are
  fp8: known('modules_to_not_convert ignored_layers dequantize', {
    fmt: ['e4m3', 'float8_e4m3fn'],
    activation_scheme: ['dynamic', 'static'],
    scale_fmt: ['ue8m0'],
    weight_block_size: {
      says: 'two sizes',
      holds: (value) => Array.isArray(value) && value.length === 2 && value.every(isCount),
    },
  }),
  gptq: known(
    `dataset tokenizer damp_percent damp_auto_increment true_sequential static_groups model_name_or_path
    model_file_base_name model_seqlen block_name_to_quantize module_name_preceding_first_block batch_size pad_token_id
    use_exllama use_cuda_fp16 disable_exllama exllama_config max_input_length cache_block_outputs
    modules_in_block_to_quantize meta hf_device_map mse backend modules_to_not_convert`,
    {
      bits: [4],
      group_size: group,
      desc_act: flag,
      sym: flag,
      checkpoint_format: ['gptq', 'gptq_v2'],
      format: ['gptq', 'gptq_v2'],
      pack_dtype: ['int32'],
      lm_head: [false],
      is_marlin_format: [false],
      dynamic: [{}],
    },
  ),
  awq: known('modules_to_not_convert exllama_config fuse_max_seq_len modules_to_fuse backend', {
    bits: [4],
    group_size: group,
    zero_point: [true],
    version: ['gemm', 'GEMM'],
    do_fuse: [false],
  }),
  mxfp4: known('modules_to_not_convert', {}),
}

const isMethod = (value: unknown): value is Quantization['method'] =>
  typeof value === 'string' && Object.hasOwn(keys, value)

/** What `readSpec` is to take for `quantization_config`: it was looked at here. */
export const readElsewhere: Harmless = { says: 'read elsewhere', holds: () => true }

/**
 * Of a multimodal checkpoint it may stand beside its `text_config`, inside it, or both.
 * @returns undefined where weights are plain
 * @throws MeshError `modelConfigInvalid` naming key and value of what is not understood, or contradictory
 */
export const readAnyQuantization = (file: string, config: Json): Quantization | undefined => {
  const inner = isJson(config.text_config) ? config.text_config : {}
  const [outside, inside] = [readQuantization(file, config), readQuantization(file, inner)]
  if (outside && inside && JSON.stringify(outside) !== JSON.stringify(inside))
    throw new MeshError('modelConfigInvalid', {
      file,
      problem: 'quantization_config contradicts the one in text_config: one of them is wrong',
    })
  return outside ?? inside
}

/**
 * @param config content of config.json, or of its `text_config`
 * @returns undefined where weights are plain
 * @throws MeshError `modelConfigInvalid` naming key and value of what is not understood
 */
export const readQuantization = (file: string, config: Json): Quantization | undefined => {
  const found = config.quantization_config
  if (found === undefined || found === null) return undefined
  if (!isJson(found) || !isMethod(found.quant_method)) {
    const what = isJson(found) ? `quant_method is ${shown(found.quant_method ?? null)}` : `it is ${shown(found)}`
    throw new MeshError('modelConfigInvalid', {
      file,
      problem: `quantization_config: ${what}; supported is ${Object.keys(keys).join(', ')}, or plain weights`,
    })
  }
  const method = found.quant_method
  try {
    checkKeys(file, found, keys[method])
    if (method === 'gptq' || method === 'awq') checkBits(file, found)
  } catch (error) {
    if (!(error instanceof MeshError)) throw error
    const problem = String(error.fields.problem)
    throw new MeshError('modelConfigInvalid', { file, problem: `quantization_config: ${problem}` }, error)
  }
  return quantizationOf(method, found)
}

const checkBits = (file: string, { bits, group_size: size }: Json): void => {
  if (bits === undefined || size === undefined)
    throw new MeshError('modelConfigInvalid', { file, problem: 'bits and group_size must be there' })
}

const quantizationOf = (method: Quantization['method'], found: Json): Quantization => {
  if (method === 'fp8') return { method, block: (found.weight_block_size ?? undefined) as [number, number] | undefined }
  if (method === 'gptq') {
    const isV2 = (found.checkpoint_format ?? found.format) === 'gptq_v2'
    return {
      method,
      isSymmetric: found.sym === true,
      isOrdered: found.desc_act !== true,
      zeroOffset: isV2 ? 0 : 1,
    }
  }
  return { method }
}
