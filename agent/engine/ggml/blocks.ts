/**
 * From the blocks of a shard file to those of ggml: the same codes and scales, in another order.
 *
 * shard q4: u8 [16], column 2 j in the low nibble of byte j; ggml Q4_0: f16 scale, then u8 [16], column j in the low
 * nibble of byte j and column j + 16 in the high one. Shard q8: u8 [32], code + 128; ggml Q8_0: f16 scale, i8 [32].
 */
export const blockColumns = 32
const scaleBytes = 2

export const ggmlBlockBytes = { q4: scaleBytes + 16, q8: scaleBytes + 32 } as const

/** @param scales f32, one a block; @returns the bits of the nearest f16 */
const halfBits = (scales: Float32Array): Uint16Array => {
  const halves = new Float16Array(scales.length)
  halves.set(scales)
  return new Uint16Array(halves.buffer)
}

/** @param codes u8 [blocks, 16] as in the shard file */
export const toQ4Blocks = (codes: Uint8Array, scales: Float32Array): Uint8Array => {
  const bits = halfBits(scales)
  const out = new Uint8Array(scales.length * ggmlBlockBytes.q4)
  for (let block = 0; block < scales.length; block++) {
    const from = block * 16
    const to = block * ggmlBlockBytes.q4
    out[to] = bits[block] & 0xff
    out[to + 1] = bits[block] >> 8
    for (let j = 0; j < 8; j++) {
      // bytes j and j + 8 hold columns 2 j, 2 j + 1 and 16 + 2 j, 17 + 2 j
      const low = codes[from + j]
      const high = codes[from + j + 8]
      out[to + 2 + 2 * j] = (low & 0x0f) | ((high & 0x0f) << 4)
      out[to + 3 + 2 * j] = (low >> 4) | (high & 0xf0)
    }
  }
  return out
}

/** @param codes u8 [blocks, 32] as in the shard file */
export const toQ8Blocks = (codes: Uint8Array, scales: Float32Array): Uint8Array => {
  const bits = halfBits(scales)
  const out = new Uint8Array(scales.length * ggmlBlockBytes.q8)
  for (let block = 0; block < scales.length; block++) {
    const from = block * 32
    const to = block * ggmlBlockBytes.q8
    out[to] = bits[block] & 0xff
    out[to + 1] = bits[block] >> 8
    // unsigned with offset 128 -> two's complement
    for (let j = 0; j < 32; j++) out[to + 2 + j] = codes[from + j] ^ 0x80
  }
  return out
}
