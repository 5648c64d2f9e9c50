/** Entry of a thread of `shard-threads.ts`. */
import { closeSync, openSync } from 'node:fs'
import { llamaRoles } from './architecture/llama.ts'
import { checkedTensors } from './model-hashes.ts'
import { openTensors } from './safetensors.ts'
import type { ShardThreadInput } from './shard-threads.ts'
import { piecesOf, ShardWriter } from './shard-writer.ts'
import { runThread } from './thread-pool.ts'

runThread(function* ({ content, modelFolder, digests, shardFile }: ShardThreadInput, take) {
  const pieces = piecesOf(content)
  const store = openTensors(modelFolder)
  const handle = openSync(shardFile, 'r+')
  const writer = new ShardWriter(content, handle)
  const roles = llamaRoles(checkedTensors(modelFolder, store.tensors, digests), content.spec.tied)
  try {
    for (let index = take(); index < pieces.length; index = take()) yield writer.piece(roles, pieces[index])
  } finally {
    closeSync(handle)
    store.close()
  }
})
