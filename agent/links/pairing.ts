/**
 * Who has to do with whom in which round, so that every two ranks meet once and each has one partner at a time: the
 * circle method of tournaments. With an odd number of ranks one of them rests in each round.
 */

export const roundsOf = (worldSize: number): number => (worldSize % 2 === 0 ? worldSize : worldSize + 1) - 1

/** @returns `undefined` for the rank that rests */
export const partnerOf = (rank: number, round: number, worldSize: number): number | undefined => {
  const rounds = roundsOf(worldSize)
  /** The one in the middle of the circle, or nobody. */
  const fixed = rounds
  // the others meet whose numbers sum to the round; who would meet itself meets the fixed one
  if (rank === fixed) return (round * ((rounds + 1) / 2)) % rounds
  const other = (round - rank + 2 * rounds) % rounds
  const partner = other === rank ? fixed : other
  return partner < worldSize ? partner : undefined
}
