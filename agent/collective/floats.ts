/** f32 tensors as bytes and back, without a copy where alignment allows. */
import { MeshError } from '../../shared/errors.ts'

export const bytesOf = (data: Float32Array): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** @throws MeshError `frameInvalid` when the payload is not `length` elements */
export const floatsOf = (bytes: Uint8Array, length: number): Float32Array => {
  if (bytes.length !== length * 4)
    throw new MeshError('frameInvalid', { problem: `a tensor of ${bytes.length} bytes, want ${length * 4}` })
  return bytes.byteOffset % 4 === 0
    ? new Float32Array(bytes.buffer, bytes.byteOffset, length)
    : new Float32Array(bytes.slice().buffer)
}
