/** Which tensor of a model is stored in which type: the rules of llama.cpp's `llama-quantize`. */
import type { ModelSpec } from '../../architecture/model-spec.ts'
import { blockSizes, type WeightType } from '../../architecture/tensor-roles.ts'

/** A kind of file: its number (`llama_ftype`), the type of most matrices, and whether some of them get more bits. */
interface Mixture {
  readonly number: number
  readonly type: WeightType
  readonly isMixed?: true
}

/** `MXFP4` is a mixture of nobody: llama-quantize gives that type to experts alone, and here every matrix has it. */
export const mixtures = {
  F32: { number: 0, type: 'F32' },
  F16: { number: 1, type: 'F16' },
  Q4_0: { number: 2, type: 'Q4_0' },
  Q8_0: { number: 7, type: 'Q8_0' },
  Q4_K_M: { number: 15, type: 'Q4_K', isMixed: true },
  Q5_K_M: { number: 17, type: 'Q5_K', isMixed: true },
  Q6_K: { number: 18, type: 'Q6_K' },
  IQ4_NL: { number: 25, type: 'IQ4_NL' },
  MXFP4: { number: 38, type: 'MXFP4' },
} as const satisfies Readonly<Record<string, Mixture>>
export type MixtureName = keyof typeof mixtures

/** What a row gets that is not made of whole blocks of 256. */
const fallbacks: Readonly<Partial<Record<WeightType, WeightType>>> = {
  Q4_K: 'Q5_0',
  Q5_K: 'Q5_1',
  Q6_K: 'Q8_0',
}

/** The first and the last eighth of the layers, and every third between. */
const hasMoreBits = (layer: number, layers: number): boolean => {
  const eighth = Math.floor(layers / 8)
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2
}

/** As wanted, or what rows of so many columns can have. */
export const fitting = (type: WeightType, columns: number): WeightType => {
  if (columns % blockSizes[type].values === 0) return type
  const other = fallbacks[type] ?? 'F16'
  return columns % blockSizes[other].values === 0 ? other : 'F16'
}

/** @param name as the file calls the tensor; `dims`: as Hugging Face has them */
export const typeIn = (
  mixture: MixtureName,
  { layers, tied }: Pick<ModelSpec, 'layers' | 'tied'>,
  { name, dims }: { readonly name: string; readonly dims: readonly number[] },
): WeightType => {
  const rule: Mixture = mixtures[mixture]
  const isMatrix = dims.length > 1 && dims.at(-2) !== 1
  if (!isMatrix || name.includes('ffn_gate_inp') || rule.type === 'F32') return 'F32'
  const columns = dims[dims.length - 1]
  const isQuantised = blockSizes[rule.type].values > 1
  const isHead = name === (tied ? 'token_embd.weight' : 'output.weight')
  if (isHead && isQuantised && rule.type !== 'Q8_0' && mixture !== 'MXFP4') return columns % 256 === 0 ? 'Q6_K' : 'Q8_0'
  const layer = /^blk\.(\d+)\.(?:attn_v|ffn_down)\b/.exec(name)?.[1]
  const isFiner = rule.isMixed && layer !== undefined && hasMoreBits(Number(layer), layers.length)
  return fitting(isFiner ? 'Q6_K' : rule.type, columns)
}
