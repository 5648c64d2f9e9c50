/** What files of a model say, before anybody knows what it is. */

export type Json = Readonly<Record<string, unknown>>

export const isJson = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A value in a message: not more of it than helps. */
export const shown = (value: unknown): string => JSON.stringify(value)?.slice(0, 200) ?? String(value)
