/**
 * f32 to f16 and back, and additions, by ggml's vector code, which is in the library that it chose for this processor:
 * twenty times as fast as loops in JavaScript, over all sums of a prompt. Where that library cannot be found, or
 * computes other bits, there is none.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type Vectors, vectorsInJavaScript } from '../../collective/vectors.ts'
import { createAdder } from './adder.ts'

const require = createRequire(import.meta.url)

interface Converters {
  toHalf(from: Float32Array, into: Uint16Array, count: number): void
  toFloat(from: Uint16Array, into: Float32Array, count: number): void
}

/** File of the library with ggml's processor code, as the loader of this process has it. */
const loadedFile = (): string | undefined => {
  try {
    return /\/\S*libggml-cpu[^\s/]*\.so/.exec(readFileSync('/proc/self/maps', 'utf8'))?.[0]
  } catch {
    return undefined // not Linux
  }
}

const open = (file: string): Converters | undefined => {
  try {
    const library = (require('koffi') as { load(path: string): { func(declaration: string): never } }).load(file)
    return {
      toHalf: library.func('void ggml_cpu_fp32_to_fp16(const void *from, void *into, int64_t count)'),
      toFloat: library.func('void ggml_cpu_fp16_to_fp32(const void *from, void *into, int64_t count)'),
    }
  } catch {
    return undefined // another version of the library
  }
}

/**
 * Normal, rounded both ways, largest, too large, subnormal, vanishing, signed zero; an odd count, so that the rest of a
 * vector counts too.
 */
const samples = Float32Array.of(
  1,
  -2.5,
  0.1,
  1 / 3,
  65_504,
  65_519,
  65_520,
  -1e6,
  6e-5,
  6e-8,
  2.9e-8,
  1e-10,
  -0,
  0,
  Infinity,
  -Infinity,
  1000.5,
  2049,
  2051,
)

/** Ranks may not differ in a bit: both directions must do as JavaScript does. */
const isRight = ({ toHalf, toFloat }: Converters): boolean => {
  const half = new Uint16Array(samples.length)
  toHalf(samples, half, samples.length)
  const wanted = new Float16Array(samples)
  const back = new Float32Array(samples.length)
  toFloat(half, back, samples.length)
  return (
    new Uint16Array(wanted.buffer).every((bits, index) => bits === half[index]) &&
    Float32Array.from(wanted).every((value, index) => Object.is(value, back[index]))
  )
}

/** Call it once ggml has chosen its library. */
export const nativeVectors = (): Vectors | undefined => {
  const file = loadedFile()
  const native = file === undefined ? undefined : open(file)
  if (!native || !isRight(native)) return undefined
  return {
    toHalf: (from, into) => native.toHalf(from, into, from.length),
    toFloat: (from, into) => native.toFloat(from, into, into.length),
    add: createAdder() ?? vectorsInJavaScript.add,
  }
}
