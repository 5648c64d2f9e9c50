/** Entry of a thread of `model-hashes.ts`: reads and hashes the parts that nobody took yet. */
import { MeshError } from '../../shared/errors.ts'
import { type HashInput, hashPart, partsOf } from './model-hashes.ts'
import { TensorFile } from './safetensors.ts'
import { runThread } from './thread-pool.ts'

runThread(function* ({ tensors, memory }: HashInput, take) {
  const parts = partsOf(tensors)
  const digests = new Uint8Array(memory)
  const files = new Map<string, TensorFile>()
  const open = (path: string, stamp: string): TensorFile => {
    const file = files.get(path) ?? new TensorFile(path)
    files.set(path, file)
    if (file.stamp !== stamp)
      throw new MeshError('safetensorsInvalid', { file: path, problem: 'it is being changed while it is read' })
    return file
  }
  try {
    for (let index = take(); index < parts.length; index = take()) {
      const { tensor } = parts[index]
      yield hashPart(open(tensor.path, tensor.stamp), parts[index], digests)
    }
  } finally {
    for (const file of files.values()) file.close()
  }
})
