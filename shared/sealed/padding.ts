/** Lengths tell what was written: texts are filled up before they are sealed. */

const lengthBytes = 4

/** The text in UTF-8 behind its length, filled with zeros to a multiple of `block` bytes. */
export const padded = (text: string, block: number): Buffer => {
  const length = Buffer.byteLength(text)
  const bytes = Buffer.alloc(Math.ceil((lengthBytes + length) / block) * block)
  bytes.writeUInt32BE(length)
  bytes.write(text, lengthBytes)
  return bytes
}

/** @returns `undefined` for what `padded` did not make */
export const unpadded = (bytes: Buffer): string | undefined => {
  if (bytes.length < lengthBytes) return undefined
  const end = lengthBytes + bytes.readUInt32BE()
  return end > bytes.length ? undefined : bytes.toString('utf8', lengthBytes, end)
}

/** Bytes that a sealed prompt can hold at most: what the control plane may reckon with, which cannot open it. */
export const sealedBytes = ({ box }: { readonly box: string }): number => Math.ceil((box.length * 3) / 4)
