/** Entry of a thread of `shard-threads.ts`. */
import { closeSync, openSync } from 'node:fs'
import { openSource } from './model-source.ts'
import type { ShardThreadInput } from './shard-threads.ts'
import { piecesOf, ShardWriter } from './shard-writer.ts'
import { runThread } from './thread-pool.ts'

runThread(function* ({ content, modelFolder, digests, shardFile }: ShardThreadInput, take) {
  const pieces = piecesOf(content)
  const source = openSource(modelFolder)
  const handle = openSync(shardFile, 'r+')
  const writer = new ShardWriter(content, handle)
  const roles = source.roles(digests)
  try {
    for (let index = take(); index < pieces.length; index = take()) yield writer.piece(roles, pieces[index])
  } finally {
    closeSync(handle)
    source.close()
  }
})
