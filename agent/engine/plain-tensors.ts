/** Numbers of a shard that are read whole into JavaScript. */
import { closeSync, openSync, readSync } from 'node:fs'
import { MeshError } from '../../shared/errors.ts'
import type { ShardFile, ShardTensor } from '../model/shard-cache.ts'

/** @throws MeshError `shardCorrupt` */
export const readTensor = (handle: number, { offset, length }: ShardTensor): Uint8Array => {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length;) {
    const got = readSync(handle, bytes, at, length - at, offset + at)
    if (got === 0) throw new MeshError('shardCorrupt', { file: 'weights', problem: 'it ends early' })
    at += got
  }
  return bytes
}

export const floatsOf = (bytes: Uint8Array): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)

/** Reads f32 tensors by name. */
export interface PlainTensors {
  has(name: string): boolean
  read(name: string): Float32Array
}

/** @param action with tensors that are read while it runs. @throws MeshError `shardCorrupt` */
export const withPlainTensors = <T>({ weights, tensors }: ShardFile, action: (plain: PlainTensors) => T): T => {
  const handle = openSync(weights, 'r')
  try {
    return action({
      has: (name) => tensors.has(name),
      read: (name) => {
        const tensor = tensors.get(name)
        if (!tensor) throw new Error(`shard file lacks ${name}`)
        return floatsOf(readTensor(handle, tensor))
      },
    })
  } finally {
    closeSync(handle)
  }
}
