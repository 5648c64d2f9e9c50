/**
 * How backends round activations before a quantised product: to 8 bits, block by block. A check that rounds otherwise
 * is off by what the rounding costs, up to a percent, and could not tell that from a lie.
 *
 * - `ggml` (Q8_0): blocks of 32, the scale is rounded to f16 after the codes are made
 * - `onnx` (MatMulNBits, accuracy level 4): blocks of the weights, 32 or 128 wide, the scale is an f32
 */
import type { BlockColumns } from '../model/quantize.ts'

const backendKinds = ['ggml', 'onnx'] as const
export type BackendKind = (typeof backendKinds)[number]

/** Activations in 8 bits: value = code * scale. */
export interface Rounded {
  /** i8 [blocks * block] */
  readonly codes: Int8Array
  /** f32 [blocks] */
  readonly scales: Float32Array
  /** What each value has beyond its code, in codes: -0.5 to 0.5. f32 [blocks * block] */
  readonly rests: Float32Array
}

const half = new Float16Array(1)
const asHalf = (value: number): number => {
  half[0] = value
  return half[0]
}

/** To the nearest, ties to even: what vector instructions do. */
export const roundToEven = (value: number): number => {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}

/** @param values f32 [a multiple of the block] */
export const roundActivations = (values: Float32Array, block: BlockColumns, kind: BackendKind): Rounded => {
  const codes = new Int8Array(values.length)
  const rests = new Float32Array(values.length)
  const scales = new Float32Array(values.length / block)
  for (let index = 0; index < scales.length; index++) {
    const start = index * block
    let largest = 0
    for (let i = start; i < start + block; i++) largest = Math.max(largest, Math.abs(values[i]))
    const scale = Math.fround(largest / 127)
    scales[index] = kind === 'ggml' ? asHalf(scale) : scale
    const inverse = largest > 0 ? Math.fround(kind === 'ggml' ? 127 / largest : 1 / scale) : 0
    for (let i = start; i < start + block; i++) {
      const exact = Math.fround(values[i] * inverse)
      const code = roundToEven(exact)
      codes[i] = code
      rests[i] = exact - code
    }
  }
  return { codes, scales, rests }
}

/**
 * So near to where rounding turns over that the last bits of the sum before it decide, which are another backend's own:
 * f32 holds 2^-24 of a value of up to 127 codes, and a norm adds up thousands.
 */
const closeness = 3e-4

/** Indexes of values that another backend may round to the next code. */
export const closeCalls = ({ rests }: Rounded): number[] => {
  const found: number[] = []
  for (let i = 0; i < rests.length; i++) if (0.5 - Math.abs(rests[i]) < closeness) found.push(i)
  return found
}

/** The same with one value rounded the other way. */
export const turnedOver = ({ codes, scales, rests }: Rounded, index: number): Rounded => {
  const other = codes.slice()
  other[index] += Math.sign(rests[index])
  return { codes: other, scales, rests }
}
