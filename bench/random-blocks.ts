/** Random weights of every type: codes are random bytes, scales are such that activations keep their size. */
import { randomFillSync } from 'node:crypto'
import type { BlockType, WeightType } from '../agent/model/architecture/tensor-roles.ts'
import { weightFormats } from '../agent/model/blocks/formats.ts'

/** Of values of random codes with a scale of 1: their deviation, and the second scale that makes their mean zero. */
const codes: Readonly<Record<BlockType, { readonly deviation: number; readonly second?: number }>> = {
  Q4_0: { deviation: 4.6 },
  Q4_1: { deviation: 4.6, second: -7.5 },
  Q5_0: { deviation: 9.2 },
  Q5_1: { deviation: 9.2, second: -15.5 },
  Q8_0: { deviation: 74 },
  IQ4_NL: { deviation: 72 },
  MXFP4: { deviation: 2.9 },
  Q2_K: { deviation: 14, second: 1.5 },
  Q3_K: { deviation: 43 },
  Q4_K: { deviation: 258, second: 7.5 },
  Q5_K: { deviation: 526, second: 15.5 },
  Q6_K: { deviation: 1370 },
  IQ4_XS: { deviation: 1330 },
}

const half = new Float16Array(1)
const halfBytes = new Uint8Array(half.buffer)

const setHalf = (bytes: Uint8Array, start: number, step: number, value: number): void => {
  half[0] = value
  const [low, high] = halfBytes
  for (let at = start; at < bytes.length; at += step) {
    bytes[at] = low
    bytes[at + 1] = high
  }
}

/** Between 1 and 2 times a power of two, of either sign: cheaper than drawing each. */
const fillFloats = (type: 'F32' | 'F16' | 'BF16', bytes: Uint8Array, deviation: number): void => {
  const exponent = Math.floor(Math.log2(deviation / 1.5))
  if (type === 'F32') {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
    for (let i = 0; i < words.length; i++) words[i] = (words[i] & 0x807f_ffff) | ((127 + exponent) << 23)
    return
  }
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2)
  const [kept, set] = type === 'F16' ? [0x83ff, Math.max(0, 15 + exponent) << 10] : [0x807f, (127 + exponent) << 7]
  for (let i = 0; i < words.length; i++) words[i] = (words[i] & kept) | set
}

/**
 * Fills whole blocks with weights of a matrix of so many columns: mean 0, deviation 1 / sqrt(columns).
 * @param bytes aligned to 4
 */
export const fillWeights = (type: WeightType, bytes: Uint8Array, columns: number): void => {
  randomFillSync(bytes)
  const deviation = 1 / Math.sqrt(columns)
  if (type === 'F32' || type === 'F16' || type === 'BF16') return fillFloats(type, bytes, deviation)
  const { bytes: size, scales } = weightFormats[type]
  const scale = deviation / codes[type].deviation
  if (scales?.kind === 'exponent') {
    for (let at = scales.at[0]; at < bytes.length; at += size) bytes[at] = 127 + Math.round(Math.log2(scale))
    return
  }
  for (const [index, place] of (scales?.at ?? []).entries())
    setHalf(bytes, place, size, index === 0 ? scale : scale * (codes[type].second ?? 0))
}

/** Bytes that are held at once; a multiple of the bytes of every block. */
const pieceBytes = 4 * 2 ** 20

/** The same in pieces of bounded size, which are overwritten: use each before the next. */
export function* randomWeights(type: WeightType, length: number, columns: number): Generator<Uint8Array> {
  const { bytes: size } = weightFormats[type]
  const piece = new Uint8Array(Math.min(length, Math.floor(pieceBytes / size / 4) * size * 4))
  for (let at = 0; at < length; at += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, length - at))
    fillWeights(type, part, columns)
    yield part
  }
}

const isNorm = (name: string): boolean => /norm$/i.test(name)

/** Numbers that stay f32: norms are one, routers choose, biases and sinks are small. */
export function* randomPlain(name: string, length: number, columns: number): Generator<Uint8Array> {
  if (isNorm(name)) yield new Uint8Array(new Float32Array(length / 4).fill(1).buffer)
  else yield* randomWeights('F32', length, name.endsWith('router') ? columns : 100)
}
