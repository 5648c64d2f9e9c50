/** What files of a model say, before anybody knows what it is. */

export type Json = Readonly<Record<string, unknown>>

export const isJson = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Undefined where a value is nested deeper than the stack is. */
const textOf = (value: unknown): string | undefined => {
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    return undefined
  }
}

/** A value in a message: not more of it than helps. */
export const shown = (value: unknown): string => {
  const text = textOf(value) ?? 'nested too deeply to be shown'
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}

export const isSameJson = (a: unknown, b: unknown): boolean => {
  const text = textOf(a)
  return text !== undefined && text === textOf(b)
}
