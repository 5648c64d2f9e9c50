/** Values of a TypeBox schema, for fast-check: those that hold, with a liking for the ends of every range. */
import fc from 'fast-check'
import type { TSchema } from 'typebox'
import { modelIdPattern } from '../../shared/ids.ts'
import { namePattern } from '../../shared/text.ts'

/** The words of JSON Schema that our schemas use; another one is an error, so that none is passed over. */
interface Json {
  readonly type?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly TSchema[]
  readonly properties?: Readonly<Record<string, TSchema>>
  readonly required?: readonly string[]
  readonly patternProperties?: Readonly<Record<string, TSchema>>
  readonly maxProperties?: number
  readonly items?: TSchema | readonly TSchema[]
  readonly minItems?: number
  readonly maxItems?: number
  readonly pattern?: string
  readonly minLength?: number
  readonly maxLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
}
const known = new Set([
  'type',
  'const',
  'enum',
  'anyOf',
  'properties',
  'required',
  'patternProperties',
  'maxProperties',
  'items',
  'additionalItems',
  'minItems',
  'maxItems',
  'pattern',
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'description',
  'default',
  'additionalProperties',
  'format',
])

/** Texts that mean something where the values go: ids of devices, pools and jobs, certificates. */
export type Dictionary = readonly string[]

/** The most that is made of an array or a text, whatever the schema allows: sizes are the matter of `edits`. */
const mostItems = 6
const mostCharacters = 64

const unicode = fc.string({ unit: 'binary', maxLength: mostCharacters })
/** Patterns whose matches fast-check cannot write down; what is made is looked at again. */
const byHand: Readonly<Record<string, fc.Arbitrary<string>>> = {
  [namePattern]: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }),
  [modelIdPattern.source]: fc
    .tuple(fc.constantFrom('small', 'a', 'owner/name', 'hub.example/o/n'), fc.constantFrom('', ':q4', ':latest'))
    .map((parts) => parts.join('')),
}

const fits = ({ pattern, minLength = 0, maxLength = Infinity }: Json): ((text: string) => boolean) => {
  const expression = pattern === undefined ? undefined : new RegExp(pattern, 'u')
  return (text) => text.length >= minLength && text.length <= maxLength && (expression?.test(text) ?? true)
}

const textOf = (schema: Json, dictionary: Dictionary): fc.Arbitrary<string> => {
  const { pattern, minLength = 0, maxLength = pattern === undefined ? mostCharacters : Infinity } = schema
  const holds = fits(schema)
  const free = pattern === undefined ? unicode : (byHand[pattern] ?? fc.stringMatching(new RegExp(pattern)))
  const made = free
    .map((text) =>
      text.length > maxLength ? text.slice(0, maxLength) : text.length < minLength ? text.padEnd(minLength, 'a') : text,
    )
    .map((text) => (holds(text) ? text : undefined))
  const words = dictionary.filter(holds)
  const fallback = words.at(0) ?? 'a'.repeat(Math.max(1, minLength))
  const texts = made.map((text) => text ?? fallback)
  return words.length === 0
    ? texts
    : fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...words) }, { weight: 1, arbitrary: texts })
}

const numberOf = ({ type, minimum, maximum, exclusiveMinimum }: Json): fc.Arbitrary<number> => {
  const isWhole = type === 'integer'
  const least =
    minimum ??
    (exclusiveMinimum === undefined ? -Number.MAX_SAFE_INTEGER : exclusiveMinimum + (isWhole ? 1 : Number.MIN_VALUE))
  const most = maximum ?? Number.MAX_SAFE_INTEGER
  const ends = [least, most, Math.min(most, Math.max(least, 1)), Math.min(most, Math.max(least, 2 ** 32))].filter(
    (value) => !isWhole || Number.isInteger(value),
  )
  const between = isWhole
    ? fc.integer({ min: Math.ceil(least), max: Math.floor(most) })
    : fc.double({ min: least, max: most, noNaN: true })
  return fc.oneof(
    { weight: 1, arbitrary: fc.constantFrom(...ends) },
    { weight: 1, arbitrary: between },
    { weight: 2, arbitrary: isWhole && least <= 0 && most >= 3 ? fc.integer({ min: 0, max: 3 }) : between },
  )
}

const objectOf = (
  { properties = {}, required = [], patternProperties, maxProperties = 4 }: Json,
  dictionary: Dictionary,
): fc.Arbitrary<unknown> => {
  const entries = Object.entries(properties).map(([name, schema]) => [name, arbitraryOf(schema, dictionary)] as const)
  if (patternProperties === undefined)
    return fc.record(Object.fromEntries(entries), { requiredKeys: [...required], noNullPrototype: true })
  const [value] = Object.values(patternProperties)
  return fc.dictionary(fc.string({ maxLength: 20 }), arbitraryOf(value, dictionary), {
    maxKeys: Math.min(maxProperties, 4),
    noNullPrototype: true,
  })
}

const arrayOf = (
  { items, minItems = 0, maxItems = mostItems }: Json,
  dictionary: Dictionary,
): fc.Arbitrary<unknown> => {
  if (Array.isArray(items)) return fc.tuple(...items.map((item: TSchema) => arbitraryOf(item, dictionary)))
  return fc.array(arbitraryOf(items as TSchema, dictionary), {
    minLength: minItems,
    maxLength: Math.max(minItems, Math.min(maxItems, mostItems)),
  })
}

/** Anything that JSON and CBOR have. */
export const anything: fc.Arbitrary<unknown> = fc.anything({
  maxDepth: 3,
  maxKeys: 4,
  withNullPrototype: false,
  values: [fc.boolean(), fc.integer(), fc.double(), unicode, fc.constant(null), fc.constant([])],
})

/**
 * Values that the schema allows.
 * @throws Error for a schema with words that this does not know: then it must learn them
 */
export const arbitraryOf = (schema: TSchema, dictionary: Dictionary = []): fc.Arbitrary<unknown> => {
  const json = schema as Json
  const strange = Object.keys(json).filter((word) => !known.has(word) && !word.startsWith('~'))
  if (strange.length > 0)
    throw new Error(
      `the generator of values does not know ${strange.join(', ')} of a schema: add it to arbitrary-of-schema.ts`,
    )
  if (json.const !== undefined) return fc.constant(json.const)
  if (json.enum) return fc.constantFrom(...json.enum)
  if (json.anyOf) return fc.oneof(...json.anyOf.map((one) => arbitraryOf(one, dictionary)))
  switch (json.type) {
    case 'string':
      return textOf(json, dictionary)
    case 'integer':
    case 'number':
      return numberOf(json)
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    case 'object':
      return objectOf(json, dictionary)
    case 'array':
      return arrayOf(json, dictionary)
    case undefined:
      return anything
    default:
      throw new Error(`the generator of values does not know the type ${json.type}`)
  }
}
