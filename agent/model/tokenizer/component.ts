/** Parts of tokenizer.json, read with care: a kind or a field that is not known would give other tokens unnoticed. */
import { isJson, type Json, shown } from '../json.ts'

/** Fields of one kind of component, besides `type`. */
export type Fields = readonly string[]

/** @throws Error naming the field: null says nothing, everything else that is not listed may change tokens */
export const knownFields = (what: string, config: Json, fields: Fields): void => {
  for (const [field, value] of Object.entries(config)) {
    if (field === 'type' || value === null || fields.includes(field)) continue
    throw new Error(`${what}: ${field} is ${shown(value)}, and is not known here`)
  }
}

/** @throws Error when the field is there and is no boolean */
export const flag = (config: Json, field: string, fallback: boolean): boolean => {
  const value = config[field] ?? fallback
  if (typeof value !== 'boolean') throw new Error(`${field} is ${shown(value)}, not true or false`)
  return value
}

/** @throws Error when the field is there and is no text */
export const text = (config: Json, field: string, fallback: string): string => {
  const value = config[field] ?? fallback
  if (typeof value !== 'string') throw new Error(`${field} is ${shown(value)}, not a text`)
  return value
}

export const list = (config: Json, field: string): readonly unknown[] => {
  const value = config[field] ?? []
  if (!Array.isArray(value)) throw new Error(`${field} is ${shown(value)}, not a list`)
  return value
}

/** Makes something of a component by its `type`. @throws Error naming a type that is not in the table */
export const byType = <Made>(
  what: string,
  config: unknown,
  makers: Readonly<Record<string, (config: Json) => Made>>,
): Made => {
  if (!isJson(config)) throw new Error(`the ${what} is ${shown(config)}`)
  const { type } = config
  if (typeof type !== 'string' || !Object.hasOwn(makers, type)) {
    throw new Error(`the ${what} ${shown(type)} is not supported; supported: ${Object.keys(makers).join(', ')}`)
  }
  return makers[type](config)
}
