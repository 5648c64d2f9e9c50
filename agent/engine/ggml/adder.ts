/**
 * Additions of f32 by ggml, wherever the numbers lie: ggml's graphs are bound to tensors, so this one's tensors are
 * moved from call to call, by writing their addresses.
 */
import { vectorsInJavaScript } from '../../collective/vectors.ts'
import { openDevice } from './device.ts'
import { type Ggml, openGgml, type Pointer, types } from './library.ts'
import { createMemory } from './memory.ts'
import { createContext } from './weights.ts'

/** Elements of one call: they fit the nearest caches, and the call costs little beside them. */
const piece = 32_768
const pieceBytes = piece * 4

/** The word of a tensor that holds the address of its numbers; found, because there is no promise where it lies. */
const addressWord = (ggml: Ggml, tensor: Pointer, address: Pointer): BigUint64Array | undefined => {
  const words = ggml.words(tensor, (Number(ggml.tensor_overhead()) - 64) >> 3)
  const found = [...words.keys()].filter((index) => words[index] === address)
  return found.length === 1 ? words.subarray(found[0], found[0] + 1) : undefined
}

/** Not a whole number of pieces, so that what is left over counts too; of sizes that are rounded when added. */
const isRight = (add: (sum: Float32Array, part: Float32Array) => void): boolean => {
  const sum = Float32Array.from({ length: 2 * piece + 5 }, (_, i) => Math.sin(i) * 10 ** ((i % 60) - 30))
  const part = sum.map((value, i) => Math.cos(value) * 10 ** ((i % 7) - 3))
  const wanted = sum.slice()
  vectorsInJavaScript.add(wanted, part)
  add(sum, part)
  return sum.every((value, i) => Object.is(value, wanted[i]))
}

/** @returns sum += part, with the bits of JavaScript; nothing where ggml computes others */
export const createAdder = (): ((sum: Float32Array, part: Float32Array) => void) | undefined => {
  const ggml = openGgml()
  const { backend } = openDevice(ggml, 1)
  const context = createContext(ggml, 4, 4)
  const memory = createMemory(ggml, 2 * pieceBytes)
  const base = ggml.address(new Uint8Array(memory.memory, memory.start))
  const [a, b] = [0, 1].map(() => ggml.new_tensor_1d(context, types.f32, piece))
  const y = ggml.add(context, a, b)
  const graph = ggml.new_graph_custom(context, 4, false)
  ggml.build_forward_expand(graph, y)
  const words = [a, b, y].map((tensor, index) => {
    const offset = index === 1 ? pieceBytes : 0
    memory.place(tensor, offset)
    return addressWord(ggml, tensor, base + BigInt(offset))
  })
  const [ofSum, ofPart, ofResult] = words
  if (!ofSum || !ofPart || !ofResult) return undefined

  const add = (sum: Float32Array, part: Float32Array): void => {
    if (part.length !== sum.length) throw new RangeError(`${sum.length} and ${part.length} numbers to add`)
    const whole = sum.length - (sum.length % piece)
    if (whole > 0) {
      const [to, from] = [ggml.address(sum), ggml.address(part)]
      for (let start = 0; start < whole; start += piece) {
        const offset = BigInt(start * 4)
        ofSum[0] = ofResult[0] = to + offset
        ofPart[0] = from + offset
        if (ggml.backend_graph_compute(backend, graph) !== 0) throw new Error('ggml: an addition failed')
      }
    }
    if (whole < sum.length) vectorsInJavaScript.add(sum.subarray(whole), part.subarray(whole))
  }
  return isRight(add) ? add : undefined
}
