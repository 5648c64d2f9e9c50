/**
 * MXFP4 as gpt-oss has it: `*_blocks` u8 [..., rows, blocks, 16], the even value of a byte in its low half; `*_scales`
 * u8 [..., rows, blocks], exponents with bias 127. ggml's blocks are the same bits in another order: the scale in
 * front, value j of 32 in the low half of byte j, value j + 16 in its high half.
 */
import { MeshError } from '../../../shared/errors.ts'
import type { StoredTensor } from '../architecture/tensor-roles.ts'
import { decodeBlocks, firstBadScale } from '../blocks/formats.ts'
import type { TensorInfo } from '../tensor-file.ts'
import { readRawRows } from '../tensor-slice.ts'

const wanted = (blocks: TensorInfo, scales: TensorInfo): void => {
  for (const { name, dtype } of [blocks, scales])
    if (dtype !== 'U8') throw new MeshError('dtypeUnsupported', { tensor: name, dtype })
  if (blocks.dims.length < 3 || blocks.dims.at(-1) !== 16)
    throw new MeshError('tensorShape', {
      tensor: blocks.name,
      got: `[${blocks.dims.join(', ')}]`,
      want: '[..., rows, blocks, 16]',
    })
  const want = blocks.dims.slice(0, -1)
  if (scales.dims.join() !== want.join())
    throw new MeshError('tensorShape', {
      tensor: scales.name,
      got: `[${scales.dims.join(', ')}]`,
      want: `[${want.join(', ')}]`,
    })
}

/** A tensor [..., rows, 32 * blocks] of MXFP4 under the name of its blocks. @throws MeshError `tensorShape` | `dtypeUnsupported` */
export const mxfp4Tensor = (blocks: TensorInfo, scales: TensorInfo): StoredTensor => {
  wanted(blocks, scales)
  const across = scales.dims.at(-1) as number
  const flat = { ...blocks, dims: [...blocks.dims.slice(0, -2), across * 16] }
  const readBytes = (start: number, end: number): Uint8Array => {
    const [codes, exponents] = [readRawRows(flat, 1, start, end), readRawRows(scales, 1, start, end)]
    const bytes = new Uint8Array(exponents.length * 17)
    for (let block = 0; block < exponents.length; block++) {
      const [at, from] = [17 * block, 16 * block]
      bytes[at] = exponents[block]
      for (let byte = 0; byte < 8; byte++) {
        // values 2 byte and 2 byte + 1, and those 16 behind them
        const [low, high] = [codes[from + byte], codes[from + 8 + byte]]
        bytes[at + 1 + 2 * byte] = (low & 15) | ((high & 15) << 4)
        bytes[at + 2 + 2 * byte] = (low >> 4) | (high & 0xf0)
      }
    }
    const bad = firstBadScale('MXFP4', bytes)
    if (bad >= 0)
      throw new MeshError('weightsUnusable', {
        tensor: scales.name,
        file: scales.file.path,
        problem: `a scale that is no number at row ${start + Math.floor(bad / across)}`,
      })
    return bytes
  }
  return {
    name: blocks.name,
    dims: [...blocks.dims.slice(0, -2), across * 32],
    type: 'MXFP4',
    readBytes,
    readRows: (start, end) => decodeBlocks('MXFP4', readBytes(start, end)),
  }
}
