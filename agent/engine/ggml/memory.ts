/** Memory that JavaScript and ggml both see: an ArrayBuffer, wrapped as a ggml buffer. */
import type { Ggml, Pointer } from './library.ts'

/** ggml wants tensors at multiples of this. */
export const alignment = 64

export interface SharedMemory {
  readonly memory: ArrayBufferLike
  /** Offset in `memory` of the first aligned byte. */
  readonly start: number
  /** Places a tensor at that offset from the start. */
  place(tensor: Pointer, offset: number): void
  free(): void
}

export const align = (bytes: number): number => Math.ceil(bytes / alignment) * alignment

/** Wraps memory; the caller keeps it alive until `free`. Pages that are never touched take no room. */
export const wrapMemory = (ggml: Ggml, memory: ArrayBufferLike): SharedMemory => {
  const base = ggml.address(new Uint8Array(memory))
  const start = Number((BigInt(alignment) - (base % BigInt(alignment))) % BigInt(alignment))
  const first = base + BigInt(start)
  const bytes = Math.floor((memory.byteLength - start) / alignment) * alignment
  const buffer = ggml.backend_cpu_buffer_from_ptr(first, bytes)
  return {
    memory,
    start,
    place: (tensor, offset) => {
      const length = Number(ggml.nbytes(tensor))
      if (offset < 0 || offset % alignment !== 0 || offset + length > bytes)
        throw new RangeError(`tensor of ${length} bytes at ${offset} does not fit ${bytes}`)
      ggml.backend_tensor_alloc(buffer, tensor, first + BigInt(offset))
    },
    free: () => ggml.backend_buffer_free(buffer),
  }
}

/** Fresh memory for `bytes` bytes. */
export const createMemory = (ggml: Ggml, bytes: number): SharedMemory =>
  wrapMemory(ggml, new ArrayBuffer(align(bytes) + alignment))
