/**
 * How many tokens went through a ring, by what its ranks signed. Rank 0 tells the control plane what prompt and answer
 * had, and nobody else sees both: but every rank sees each token pass, and signs how many did. Pure.
 *
 * The rule: of all that signed, the middle number counts, of two middle ones the lower. So it is what most of them say,
 * whoever else lies; and where two stand against each other, no more than both admit.
 */

/** The token drawn last passes through no rank, unless a step for it had begun: bills and ranks differ by that much. */
const slack = 1

const isNear = (a: number, b: number): boolean => Math.abs(a - b) <= slack

/** @param signed tokens by each rank that signed @returns `undefined` when none did */
export const agreedTokens = (signed: readonly number[]): number | undefined =>
  signed.toSorted((a, b) => a - b)[(signed.length - 1) >> 1]

/**
 * The tokens to be billed.
 * @param claimed by rank 0: believed as far as it fits what was signed, wholly if nobody did
 */
export const billedTokens = (claimed: number, signed: readonly number[]): number => {
  const agreed = agreedTokens(signed)
  return agreed === undefined ? claimed : Math.min(Math.max(claimed, agreed), agreed + slack)
}

export interface Dispute {
  /** Indexes into what was signed: against the word of most, or any of them where no number has more than half. */
  readonly by: readonly number[]
  /** Nobody can tell who is right. */
  readonly undecided: boolean
}

/** Who signed another number than the others. @returns `undefined` when all agree */
export const disputeOf = (signed: readonly number[]): Dispute | undefined => {
  const agreed = agreedTokens(signed)
  if (agreed === undefined) return undefined
  const all = [...signed.keys()]
  const against = all.filter((index) => !isNear(signed[index], agreed))
  if (against.length === 0) return undefined
  const undecided = against.length * 2 >= signed.length
  return { by: undecided ? all : against, undecided }
}
