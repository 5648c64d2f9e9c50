/** Entry of a thread of `shard-threads.ts`. */
import { closeSync, openSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { MeshError } from '../../shared/errors.ts'
import { openTensors } from './safetensors.ts'
import type { ShardThreadInput, ShardThreadReport } from './shard-threads.ts'
import { piecesOf, ShardWriter } from './shard-writer.ts'

const report = (message: ShardThreadReport): void => parentPort?.postMessage(message)

const write = ({ content, modelFolder, shardFile, next }: ShardThreadInput): void => {
  const pieces = piecesOf(content)
  const counter = new Int32Array(next)
  const store = openTensors(modelFolder)
  const handle = openSync(shardFile, 'r+')
  const writer = new ShardWriter(content, handle)
  const model = {
    tensor: (name: string) => {
      const found = store.tensors.get(name)
      if (!found) throw new MeshError('tensorMissing', { tensor: name, folder: modelFolder })
      return found
    },
  }
  try {
    for (let index = Atomics.add(counter, 0, 1); index < pieces.length; index = Atomics.add(counter, 0, 1)) report({ bytes: writer.piece(model, pieces[index]) })
  } finally {
    closeSync(handle)
    store.close()
  }
}

try {
  write(workerData as ShardThreadInput)
} catch (error) {
  const system = error instanceof Error && 'code' in error && !(error instanceof MeshError) ? { system: String(error.code) } : {}
  report({ failed: MeshError.from(error).toReport(), ...system })
}
