/** The model of tokenizer.json, whatever its kind. */

export interface Vocabulary {
  /** Ids of the tokens that a word is made of. */
  encode(word: string): readonly number[]
  /** Names by id. A map: an array is as long as the largest id, and a file may name any. */
  readonly names: ReadonlyMap<number, string>
  idOf(name: string): number | undefined
  /** Every character becomes at least one token: bytes stand in for those that are not in the vocabulary. */
  readonly losesNothing: boolean
}

export const namesOf = (ids: ReadonlyMap<string, number>): Map<number, string> =>
  new Map([...ids].map(([name, id]) => [id, name]))
