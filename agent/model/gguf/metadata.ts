/** What a GGUF file says of its model: values by key, long lists (tokens, merges, scores) kept in few bytes. */

/** Types of values, by their number in the file. */
export const valueTypes = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const
export type GgufValueType = (typeof valueTypes)[number]
export type GgufElementType = Exclude<GgufValueType, 'array'>
export type GgufScalar = number | bigint | boolean | string

/** A list of values of one type. Strings are read when they are asked for. */
export class GgufList implements Iterable<GgufScalar> {
  readonly type: GgufElementType
  readonly length: number
  readonly #at: (index: number) => GgufScalar

  constructor(type: GgufElementType, length: number, at: (index: number) => GgufScalar) {
    this.type = type
    this.length = length
    this.#at = at
  }

  /** @throws RangeError */
  at(index: number): GgufScalar {
    if (!(index >= 0 && index < this.length)) throw new RangeError(`element ${index} of ${this.length}`)
    return this.#at(index)
  }

  *[Symbol.iterator](): Generator<GgufScalar> {
    for (let index = 0; index < this.length; index++) yield this.#at(index)
  }
}

/** Integers beyond 2^53 are bigint, all other numbers number. */
export type GgufValue = GgufScalar | GgufList

/** Values by key. Lookups give undefined for an absent key. */
export class GgufMetadata {
  readonly #values: ReadonlyMap<string, GgufValue>
  /** Problem to MeshError `ggufInvalid`. */
  readonly #invalid: (problem: string) => Error

  constructor(values: ReadonlyMap<string, GgufValue>, invalid: (problem: string) => Error) {
    this.#values = values
    this.#invalid = invalid
  }

  keys(): string[] {
    return [...this.#values.keys()]
  }

  get(key: string): GgufValue | undefined {
    return this.#values.get(key)
  }

  /** @throws MeshError `ggufInvalid` when it is no number */
  number(key: string): number | undefined {
    return this.#as(key, 'number', (value) => (typeof value === 'number' ? value : undefined))
  }

  /** A whole number from 0 on. @throws MeshError `ggufInvalid` when it is none */
  count(key: string): number | undefined {
    return this.#as(key, 'whole number', (value) =>
      typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined,
    )
  }

  /** @throws MeshError `ggufInvalid` when it is no boolean */
  flag(key: string): boolean | undefined {
    return this.#as(key, 'boolean', (value) => (typeof value === 'boolean' ? value : undefined))
  }

  /** @throws MeshError `ggufInvalid` when it is no text */
  text(key: string): string | undefined {
    return this.#as(key, 'text', (value) => (typeof value === 'string' ? value : undefined))
  }

  /** @throws MeshError `ggufInvalid` when it is no list of texts */
  texts(key: string): string[] | undefined {
    return this.#as(key, 'list of texts', (value) =>
      value instanceof GgufList && (value.type === 'string' || value.length === 0) ? [...value].map(String) : undefined,
    )
  }

  /** Numbers of a list; of a list of booleans 0 and 1. @throws MeshError `ggufInvalid` when it is no list of numbers */
  numbers(key: string): number[] | undefined {
    return this.#as(key, 'list of numbers', (value) => {
      if (!(value instanceof GgufList) || (value.type === 'string' && value.length > 0)) return undefined
      return Array.from(value, Number)
    })
  }

  #as<Value>(key: string, kind: string, read: (value: GgufValue) => Value | undefined): Value | undefined {
    const value = this.#values.get(key)
    if (value === undefined) return undefined
    const found = read(value)
    if (found === undefined) throw this.#invalid(`its value of ${key} is no ${kind}`)
    return found
  }
}
