/**
 * Looks at CBOR before anything is built from it: the part of RFC 8949 that Mesh speaks, and no other.
 *
 * Whole numbers that JavaScript holds exactly, floats, byte strings, text strings, arrays, maps with distinct short
 * text keys, false, true, null, undefined; lengths given before their content, a bounded number of items and of levels.
 * Tags have no place here: a bignum takes quadratic time to decode, and others build what no schema knows.
 */
import { MeshError } from '../errors.ts'
import { limits } from '../limits.ts'

const bad = (problem: string): MeshError => new MeshError('frameInvalid', { problem: `not CBOR of Mesh: ${problem}` })

/** Major types; 0 is a whole number from 0 on, 7 all that is not in this list. */
const negative = 1
const byteString = 2
const textString = 3
const array = 4
const map = 5
const tag = 6

/** What follows the first byte, by its lower five bits from 24 on: bytes of the argument. */
const argumentBytes = [1, 2, 4, 8]
const simpleFrom = 20 // false, true, null, undefined
const simpleTo = 23

class Scan {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  /** Of each open array or map, the outermost first: items to come, in a map keys and values. */
  readonly #left = new Int32Array(limits.cborDepth)
  /** Of each open level: the keys so far of a map of several, or whether it is a map at all. */
  readonly #keys: (Set<string> | boolean)[] = []
  #depth = 0
  #at = 0
  #items = 0
  /** Of the item that is read: its argument is a value, a length or a count. */
  #major = 0
  #argument = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  run(): void {
    do this.#item()
    while (this.#depth > 0)
    if (this.#at < this.#bytes.length) throw bad('there are bytes behind it')
  }

  #item(): void {
    this.#head()
    if (this.#depth > 0) {
      const level = this.#depth - 1
      const keys = this.#keys[level]
      if (keys !== false && this.#left[level] % 2 === 0) this.#key(keys)
      this.#left[level]--
    }
    if (this.#major === byteString || this.#major === textString) {
      if (this.#argument > this.#bytes.length - this.#at) throw bad('it ends too early')
      this.#at += this.#argument
    } else if (this.#major === array || this.#major === map) this.#enter()
    while (this.#depth > 0 && this.#left[this.#depth - 1] === 0) this.#depth--
  }

  #head(): void {
    if (++this.#items > limits.cborItems) throw bad(`it has more than ${limits.cborItems} items`)
    if (this.#at >= this.#bytes.length) throw bad('it ends too early')
    const first = this.#bytes[this.#at++]
    const low = first & 0x1f
    this.#major = first >> 5
    if (this.#major === tag) throw bad('it has a tag')
    if (this.#major > tag) this.#skipSimple(low)
    else this.#argument = low < 24 ? low : this.#longArgument(low)
  }

  #longArgument(low: number): number {
    const size = argumentBytes[low - 24]
    if (size === undefined) throw bad(low === 31 ? 'it has a length that is not given' : 'it has a reserved length')
    if (size > this.#bytes.length - this.#at) throw bad('it ends too early')
    const from = this.#at
    this.#at += size
    if (size === 1) return this.#bytes[from]
    if (size === 2) return this.#view.getUint16(from)
    if (size === 4) return this.#view.getUint32(from)
    const value = this.#view.getUint32(from) * 2 ** 32 + this.#view.getUint32(from + 4)
    // the negative number is -1 - n
    if (value > Number.MAX_SAFE_INTEGER - this.#major && this.#major <= negative)
      throw bad('it has a number that is not exact')
    return value
  }

  /** Floats of any size, and the simple values that have a name. */
  #skipSimple(low: number): void {
    if (low >= simpleFrom && low <= simpleTo) return
    if (low < 25 || low > 27)
      throw bad(low === 31 ? 'it has a length that is not given' : 'it has a simple value without a name')
    this.#at += argumentBytes[low - 24]
    if (this.#at > this.#bytes.length) throw bad('it ends too early')
  }

  /** @param known the keys before this one, where there is more than one in all */
  #key(known: Set<string> | true): void {
    if (this.#major !== textString) throw bad('a key is not text')
    if (this.#argument > limits.cborKeyBytes) throw bad(`a key has more than ${limits.cborKeyBytes} bytes`)
    if (known === true) return
    // one character a byte: as distinct as the bytes are
    const key = String.fromCharCode(...this.#bytes.subarray(this.#at, this.#at + this.#argument))
    if (known.has(key)) throw bad('a key comes twice')
    known.add(key)
  }

  #enter(): void {
    if (this.#depth >= limits.cborDepth) throw bad(`it is nested deeper than ${limits.cborDepth} levels`)
    const isMap = this.#major === map
    const left = isMap ? 2 * this.#argument : this.#argument
    if (left > this.#bytes.length - this.#at) throw bad('it ends too early') // an item takes a byte at least
    if (isMap && this.#argument > limits.cborKeys) throw bad(`a map has more than ${limits.cborKeys} keys`)
    this.#left[this.#depth] = left
    this.#keys[this.#depth] = isMap && this.#argument > 1 ? new Set() : isMap
    this.#depth++
  }
}

/**
 * Reads each byte once at most and builds nothing but the keys of the maps around it.
 * @param bytes from anybody
 * @throws MeshError `frameInvalid` | `frameTooLarge` unless they are one item that may be decoded
 */
export const scanCbor = (bytes: Uint8Array): void => {
  if (bytes.length > limits.cborBytes)
    throw new MeshError('frameTooLarge', { gotBytes: bytes.length, limitBytes: limits.cborBytes })
  new Scan(bytes).run()
}
