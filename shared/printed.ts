/**
 * What `--json` prints: one spelling for every program.
 *
 * A program declares the schema of its answer in the names of the code (camelCase) and gives it with the value to
 * `jsonText`. Printed names are snake_case, every declared name is there (`null` where there is nothing), and what is
 * not declared is not printed. The pages in `docs/json` are `printedSchema` of the same declaration.
 */
import type { TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { terminalJson } from './text.ts'

type SnakeCase<Name extends string> = Name extends `${infer First}${infer Rest}`
  ? `${Lowercase<First>}${Rest extends Uncapitalize<Rest> ? '' : '_'}${SnakeCase<Rest>}`
  : Name

/** The static type of what is printed for a value of type `T`. */
export type Printed<T> = T extends string | number | boolean | null
  ? T
  : T extends readonly (infer Item)[]
    ? Printed<Item>[]
    : {
        [Name in keyof T & string as SnakeCase<Name>]-?:
          | Printed<Exclude<T[Name], undefined>>
          | (undefined extends T[Name] ? null : never)
      }

/** What may be given to be printed as `T`: whatever nobody changes. */
export type Printable<T> = T extends string | number | boolean | null | undefined
  ? T
  : { readonly [Name in keyof T]: Printable<T[Name]> }

/** The part of JSON Schema that our declarations use. */
interface Node {
  readonly type?: string
  readonly anyOf?: readonly Node[]
  readonly items?: Node
  readonly properties?: Readonly<Record<string, Node>>
  readonly required?: readonly string[]
  readonly patternProperties?: Readonly<Record<string, Node>>
}

/** `maxTokens`, `max-tokens` and `max tokens` are `max_tokens`. */
export const snakeCase = (name: string): string =>
  name
    .replaceAll(/[\s-]+/g, '_')
    .replaceAll(/(?<!^|_)(?=[A-Z])/g, '_')
    .toLowerCase()

/** The schema of all values of a record (`{ [name]: value }`), whose names are data. */
const recordOf = ({ patternProperties = {} }: Node): Node | undefined => Object.values(patternProperties)[0]

const mapEntries = <A, B>(
  entries: Readonly<Record<string, A>>,
  map: (value: A, name: string) => B,
): Record<string, B> =>
  Object.fromEntries(Object.entries(entries).map(([name, value]) => [snakeCase(name), map(value, name)]))

const printed = (schema: Node, value: unknown): unknown => {
  if (value === undefined || value === null) return null
  if (schema.anyOf !== undefined) {
    const one = schema.anyOf.find((each) => Value.Check(each as TSchema, value))
    if (one === undefined && typeof value === 'object')
      throw new Error(`no form of the answer fits ${JSON.stringify(value).slice(0, 200)}`)
    return one === undefined ? value : printed(one, value)
  }
  const { items, properties } = schema
  if (Array.isArray(value) && items !== undefined) return value.map((item) => printed(items, item))
  const entries = value as Readonly<Record<string, unknown>>
  if (properties !== undefined) return mapEntries(properties, (each, name) => printed(each, entries[name]))
  const record = recordOf(schema)
  return record === undefined ? value : mapEntries(entries, (each) => printed(record, each))
}

/** The value as JSON, in lines for people to read. @throws Error when no form of a union fits it (a defect of ours) */
export const jsonText = <Schema extends TSchema>(schema: Schema, value: unknown): string =>
  `${terminalJson(JSON.stringify(printed(schema as Node, value), null, 2))}\n`

/** The same in one line, as services tell that they are ready. */
export const jsonLine = <Schema extends TSchema>(schema: Schema, value: unknown): string =>
  `${terminalJson(JSON.stringify(printed(schema as Node, value)))}\n`

const nothing: Node = { type: 'null' }

const nullable = (schema: object): object => {
  const { anyOf }: Node = schema
  if (anyOf === undefined) return { anyOf: [schema, nothing] }
  return anyOf.some(({ type }) => type === nothing.type) ? schema : { ...schema, anyOf: [...anyOf, nothing] }
}

/** JSON Schema of what `jsonText` and `jsonLine` print by this declaration. */
export const printedSchema = (schema: TSchema): object => {
  const node = schema as Node
  const { anyOf, items, properties, required = [] } = node
  if (anyOf !== undefined) return { ...node, anyOf: anyOf.map((each) => printedSchema(each as TSchema)) }
  if (items !== undefined) return { ...node, items: printedSchema(items as TSchema) }
  if (properties !== undefined) {
    const all = mapEntries(properties, (each, name) =>
      required.includes(name) ? printedSchema(each as TSchema) : nullable(printedSchema(each as TSchema)),
    )
    return { ...node, required: Object.keys(all), properties: all, additionalProperties: false }
  }
  const record = recordOf(node)
  if (record === undefined) return { ...node }
  const { patternProperties: _, ...rest } = node
  return { ...rest, propertyNames: { pattern: '^[a-z0-9_]+$' }, additionalProperties: printedSchema(record as TSchema) }
}
