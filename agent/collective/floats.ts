/**
 * f32 tensors as bytes and back, without a copy where alignment allows; and as f16, in half the bytes.
 * f16 keeps 11 bits: each value is off by at most 2^-11 of itself (values beyond 65504 become infinite).
 */
import { MeshError } from '../../shared/errors.ts'
import { type Dtype, dtypes } from '../../shared/wire/frame.ts'
import type { Payload } from './channel.ts'

export const bytesOf = (data: Float32Array): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** @throws MeshError `frameInvalid` when the payload is not `length` elements */
export const floatsOf = (bytes: Uint8Array, length: number): Float32Array => {
  if (bytes.length !== length * 4) throw new MeshError('frameInvalid', { problem: `a tensor of ${bytes.length} bytes, want ${length * 4}` })
  return bytes.byteOffset % 4 === 0 ? new Float32Array(bytes.buffer, bytes.byteOffset, length) : new Float32Array(bytes.slice().buffer)
}

export const wireTypes = ['f32', 'f16'] as const
export type WireType = (typeof wireTypes)[number]

/** The values that others will see: rounded where the wire rounds, so that all ranks add the same numbers. */
export const encodeWire = (data: Float32Array, wire: WireType): { readonly dtype: Dtype; readonly bytes: Uint8Array; readonly seen: Float32Array } => {
  if (wire === 'f32') return { dtype: dtypes.f32, bytes: bytesOf(data), seen: data }
  const halves = Float16Array.from(data)
  return { dtype: dtypes.f16, bytes: new Uint8Array(halves.buffer), seen: Float32Array.from(halves) }
}

/** @throws MeshError `frameInvalid` for another type or length */
export const decodeWire = ({ dtype, bytes }: Payload, length: number): Float32Array => {
  if (dtype === dtypes.f32) return floatsOf(bytes, length)
  if (dtype !== dtypes.f16 || bytes.length !== length * 2) throw new MeshError('frameInvalid', { problem: `a tensor of type ${dtype} and ${bytes.length} bytes, want ${length} elements` })
  return Float32Array.from(new Float16Array(bytes.byteOffset % 2 === 0 ? bytes.buffer : bytes.slice().buffer, bytes.byteOffset % 2 === 0 ? bytes.byteOffset : 0, length))
}
