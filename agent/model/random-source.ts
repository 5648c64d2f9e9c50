/** xorshift32 (Marsaglia, 2003): uniform in -1..1, the same for the same seed. */
export const randomSource = (seed: number): (() => number) => {
  let state = (Math.imul(seed, 0x9e3779b9) ^ 0x6a09e667) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 31 - 1
  }
}
