/**
 * Random numbers as a pure function of a key and a counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel
 * random numbers: as easy as 1, 2, 3", 2011). A job that goes on elsewhere draws the same numbers at the same places.
 */
const multiplier0 = 0xd2511f53
const multiplier1 = 0xcd9e8d57
const weyl0 = 0x9e3779b9
const weyl1 = 0xbb67ae85
const rounds = 10

/** Upper and lower half of a 32 x 32 bit product. */
const multiply = (a: number, b: number): readonly [high: number, low: number] => {
  const product = BigInt(a) * BigInt(b)
  return [Number(product >> 32n), Number(product & 0xffff_ffffn)]
}

/** One block of four u32. */
export const philox4x32 = (
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] => {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < rounds; round++) {
    const [high0, low0] = multiply(multiplier0, c0)
    const [high1, low1] = multiply(multiplier1, c2)
    ;[c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0]
    k0 = (k0 + weyl0) >>> 0
    k1 = (k1 + weyl1) >>> 0
  }
  return [c0, c1, c2, c3]
}

/** Uniform in 0 <= u < 1 with 53 bits. @param position index in the context of the token to be drawn */
export const uniformAt = (seed: number, position: number): number => {
  const [high, low] = philox4x32([position >>> 0, Math.floor(position / 2 ** 32), 0, 0], [seed >>> 0, 0])
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53
}
