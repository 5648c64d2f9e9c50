/** What goes wrong with a value that holds: one change after another at places that chance picks. */
import fc from 'fast-check'
import type { TSchema } from 'typebox'
import { arbitraryOf, type Dictionary } from './arbitrary-of-schema.ts'

type Tree = Record<string, unknown> | unknown[]
interface Place {
  readonly holder: Tree
  readonly key: string
}

const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !(value instanceof Uint8Array)

const placesOf = (value: unknown, found: Place[] = []): Place[] => {
  if (!isTree(value)) return found
  for (const key of Object.keys(value)) {
    found.push({ holder: value, key })
    placesOf((value as Record<string, unknown>)[key], found)
  }
  return found
}

/** Also what an assignment would not make a key of its own: `__proto__`. */
const put = (holder: Tree, key: string, value: unknown): void => {
  if (Array.isArray(holder) && key === 'length') return
  Object.defineProperty(holder, key, { value, enumerable: true, configurable: true, writable: true })
}

const strangeKeys = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  '',
  '\u0000',
  '\u202e',
  'type',
  'length',
  'x'.repeat(300),
] as const

/** Of the wrong type, too large, too small, too long; numbers that are none. */
const strangeValues: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  -0,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  Number.MAX_VALUE,
  Number.MIN_VALUE,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  '',
  ' ',
  '0',
  '\u0000',
  '\u001b]0;x\u0007',
  '\u009b2J',
  '\u202eabc',
  '\ud800',
  '%00',
  '../../etc/passwd',
  'a'.repeat(101),
  'a'.repeat(4097),
  '\u{1f4a5}'.repeat(500),
  '0'.repeat(64),
  'f'.repeat(64),
  'F'.repeat(64),
  'A'.repeat(5000),
  [],
  {},
  [[[[[[[[[[]]]]]]]]]],
  { '': { '': {} } },
  Array.from({ length: 200 }, () => 0),
]

/** A copy: the next edit may change it. */
const strangeValue = (pick: number): unknown => structuredClone(strangeValues[pick % strangeValues.length])

/** Items and characters that repeating may make: one edit after another would make more than there is memory. */
const mostRepeated = 5000

const edits: readonly ((place: Place, pick: number, value: unknown) => void)[] = [
  ({ holder, key }) => void (Array.isArray(holder) ? holder.splice(Number(key), 1) : delete holder[key]),
  ({ holder, key }, pick) => put(holder, key, strangeValue(pick)),
  ({ holder, key }, pick) => put(holder, key, strangeValue(pick)),
  ({ holder }, pick) => put(holder, strangeKeys[pick % strangeKeys.length], { polluted: true }),
  ({ holder, key }, pick, value) => {
    if (typeof value === 'string')
      put(
        holder,
        key,
        pick % 2 === 0 ? value.slice(0, pick % (value.length + 1)) : (value + value).slice(0, 2 * mostRepeated),
      )
    else if (typeof value === 'number') put(holder, key, pick % 2 === 0 ? -value - 1 : value * 2 ** (pick % 64))
    else if (Array.isArray(value))
      put(
        holder,
        key,
        Array.from({ length: 2 + (pick % 100) }, () => value)
          .flat()
          .slice(0, mostRepeated / 10)
          .map((item) => structuredClone(item)),
      )
    else put(holder, key, [value])
  },
  ({ holder, key }, pick, value) => {
    if (typeof value !== 'string' || value === '') return put(holder, key, JSON.stringify(value) ?? '')
    const at = pick % value.length
    put(holder, key, value.slice(0, at) + String.fromCodePoint(pick % 0xd800) + value.slice(at + 1))
  },
]

interface Edit {
  readonly at: number
  readonly kind: number
  readonly pick: number
}
const edit: fc.Arbitrary<Edit> = fc.record({ at: fc.nat(), kind: fc.nat(edits.length - 1), pick: fc.nat() })

const edited = (value: unknown, list: readonly Edit[]): unknown => {
  const holder = { value: structuredClone(value) }
  for (const { at, kind, pick } of list) {
    const places = placesOf(holder)
    const place = places[at % places.length]
    edits[kind](place, pick, (place.holder as Record<string, unknown>)[place.key])
    if (!('value' in holder)) return undefined
  }
  return holder.value
}

/** Values that hold, as many that nearly do, and some that have nothing to do with the schema. */
export const hostile = (schema: TSchema, dictionary: Dictionary = []): fc.Arbitrary<unknown> => {
  const valid = arbitraryOf(schema, dictionary)
  return fc.oneof(
    { weight: 6, arbitrary: valid },
    {
      weight: 5,
      arbitrary: fc
        .tuple(valid, fc.array(edit, { minLength: 1, maxLength: 4 }))
        .map(([value, list]) => edited(value, list)),
    },
    { weight: 1, arbitrary: fc.constantFrom(...strangeValues) },
  )
}

/** The same, as values and not as text: nothing is repaired by writing it down. */
export const damage = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
  fc.tuple(values, fc.array(edit, { maxLength: 3 })).map(([value, list]) => edited(value, list))

type Cut = (bytes: Buffer, at: number, pick: number) => Buffer
const cuts: readonly Cut[] = [
  (bytes) => bytes,
  (bytes) => bytes,
  (bytes, at) => bytes.subarray(0, at),
  (bytes, at, pick) => {
    const copy = Buffer.from(bytes)
    copy[at] ^= 1 << (pick % 8)
    return copy
  },
  (bytes, at, pick) =>
    Buffer.concat([bytes.subarray(0, at), Buffer.alloc(1 + (pick % 9), pick % 256), bytes.subarray(at)]),
  (bytes, at) => Buffer.concat([bytes, bytes.subarray(at)]),
]

/** Bytes as they are, cut, with a bit that fell over, with more in the middle or behind. */
export const damagedBytes = (whole: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Buffer> =>
  fc
    .tuple(whole, fc.nat(), fc.nat(cuts.length - 1), fc.nat())
    .map(([bytes, at, kind, pick]) => cuts[kind](Buffer.from(bytes), bytes.length === 0 ? 0 : at % bytes.length, pick))

/** Text that fits into the dictionary of its kind, as it is and damaged. */
export const damagedText = (whole: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.oneof(whole, damagedBytes(whole.map((text) => Buffer.from(text))).map(String), fc.string({ unit: 'binary' }))
