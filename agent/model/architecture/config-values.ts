/** Reads keys of a config.json (or of what the metadata of a GGUF file says in its words), checked as they are read. */
import { MeshError } from '../../../shared/errors.ts'
import { isJson, type Json, shown } from '../json.ts'

/** Caps; each is far above what real models have. Without them a hostile file could ask for any amount of work. */
export const caps = {
  vocab: 1 << 24,
  hidden: 1 << 20,
  ffn: 1 << 22,
  layers: 1024,
  heads: 4096,
  headDim: 4096,
  context: 1 << 24,
  experts: 4096,
  /** Of all layers together. */
  allExperts: 65_536,
} as const

const own = (dict: Json, key: string): unknown => (Object.hasOwn(dict, key) ? dict[key] : undefined)

export type ConfigValues = ReturnType<typeof configValues>

/**
 * @param file for messages
 * @param content keys of the file
 * @param defaults what the class of the architecture takes for keys that are absent or null
 * @param nameOf how the file calls a key: other words than config.json's in a GGUF file
 */
export const configValues = (
  file: string,
  content: Json,
  defaults: Json = {},
  nameOf: (key: string) => string = (key) => key,
) => {
  const refuse = (key: string, problem: string): never => {
    throw new MeshError('modelConfigInvalid', { file, problem: `${nameOf(key)} is ${shown(raw(key))}; ${problem}` })
  }
  /** Null in a file says "none", where a key that is absent says "as the class takes it". */
  const raw = (key: string): unknown => {
    const value = own(content, key)
    return (value === undefined || (value === null && key === 'rope_theta') ? own(defaults, key) : value) ?? undefined
  }

  const integer = (key: string, minimum: number, maximum: number): number => {
    const value = raw(key)
    if (Number.isInteger(value) && (value as number) >= minimum && (value as number) <= maximum) return value as number
    return refuse(key, `it must be a whole number from ${minimum} to ${maximum}`)
  }
  const size = (key: string, maximum: number): number => integer(key, 1, maximum)
  const positive = (key: string): number => {
    const value = raw(key)
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value
    return refuse(key, 'it must be a number above 0')
  }
  const list = <T>(key: string, length: number, isOne: (value: unknown) => value is T, says: string): readonly T[] => {
    const value = raw(key)
    if (!Array.isArray(value) || value.length !== length || !value.every(isOne))
      return refuse(key, `it must be a list of ${length}, each ${says}`)
    return value
  }

  return {
    file,
    /** Says that a value is not supported. */
    refuse,
    raw,
    /** The value in the file itself, without what the class takes by default. */
    said: (key: string): unknown => own(content, key) ?? undefined,
    has: (key: string): boolean => raw(key) !== undefined,
    size,
    integer,
    positive,
    list,
    optional: <T>(key: string, read: (key: string) => T): T | undefined =>
      raw(key) === undefined ? undefined : read(key),
    flag: (key: string): boolean => {
      const value = raw(key) ?? false
      return typeof value === 'boolean' ? value : refuse(key, 'it must be true or false')
    },
    oneOf: <T extends string>(key: string, values: readonly T[]): T => {
      const value = raw(key)
      return values.find((one) => one === value) ?? refuse(key, `supported is ${values.map(shown).join(' or ')}`)
    },
    dict: (key: string): Json | undefined => {
      const value = raw(key)
      if (value === undefined || isJson(value)) return value
      return refuse(key, 'it must be an object')
    },
    /** Sizes that every family has. */
    layers: size('num_hidden_layers', caps.layers),
    hidden: size('hidden_size', caps.hidden),
    context: size('max_position_embeddings', caps.context),
  }
}
