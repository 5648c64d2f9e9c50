/** Types of tensors that GGUF files name, by `ggml_type`: those that are read, and those that are refused by name. */
import type { WeightType } from '../architecture/tensor-roles.ts'
import { weightFormats } from '../blocks/formats.ts'

export interface GgufTensorType {
  readonly name: string
  /** Values and bytes of a block. */
  readonly values: number
  readonly bytes: number
}

/** Types of which no value is read: [id, name, values of a block, bytes of a block]. */
const unread: readonly (readonly [number, string, number, number])[] = [
  [9, 'Q8_1', 32, 36],
  [15, 'Q8_K', 256, 292],
  [16, 'IQ2_XXS', 256, 66],
  [17, 'IQ2_XS', 256, 74],
  [18, 'IQ3_XXS', 256, 98],
  [19, 'IQ1_S', 256, 50],
  [21, 'IQ3_S', 256, 110],
  [22, 'IQ2_S', 256, 82],
  [24, 'I8', 1, 1],
  [25, 'I16', 1, 2],
  [26, 'I32', 1, 4],
  [27, 'I64', 1, 8],
  [28, 'F64', 1, 8],
  [29, 'IQ1_M', 256, 56],
  [34, 'TQ1_0', 256, 54],
  [35, 'TQ2_0', 256, 66],
  [40, 'NVFP4', 64, 36],
  [41, 'Q1_0', 128, 18],
  [42, 'Q2_0', 64, 18],
]

/** Types that llama.cpp gave up; files of them cannot be read by it either. */
const removed: Readonly<Record<number, string>> = {
  4: 'Q4_2',
  5: 'Q4_3',
  31: 'Q4_0_4_4',
  32: 'Q4_0_4_8',
  33: 'Q4_0_8_8',
  36: 'IQ4_NL_4_4',
  37: 'IQ4_NL_4_8',
  38: 'IQ4_NL_8_8',
}

const known: ReadonlyMap<number, GgufTensorType> = new Map([
  ...Object.entries(weightFormats).map(([name, { id, values, bytes }]): [number, GgufTensorType] => [
    id,
    { name: name satisfies string as WeightType, values, bytes },
  ]),
  ...unread.map(([id, name, values, bytes]): [number, GgufTensorType] => [id, { name, values, bytes }]),
])

/** @throws Error that says what the type is, where its bytes cannot be told */
export const ggufTensorType = (id: number): GgufTensorType => {
  const type = known.get(id)
  if (type !== undefined) return type
  if (Object.hasOwn(removed, id))
    throw new Error(`it has the type ${removed[id]}, which llama.cpp gave up: use a file that was made anew`)
  throw new Error(`it has the type ${id}, which is not known`)
}
