/** The model of tokenizer.json, whatever its kind. */

export interface Vocabulary {
  /** Ids of the tokens that a word is made of. */
  encode(word: string): readonly number[]
  /** Names by id; undefined where an id has none. */
  readonly names: readonly (string | undefined)[]
  idOf(name: string): number | undefined
  /** Every character becomes at least one token: bytes stand in for those that are not in the vocabulary. */
  readonly losesNothing: boolean
}

export const namesOf = (ids: ReadonlyMap<string, number>): (string | undefined)[] => {
  const names: (string | undefined)[] = []
  for (const [name, id] of ids) names[id] = name
  return names
}
