/** Makes the matrices of a shard in threads: a 4-bit search over a large matrix takes seconds. */
import type { ShardContent } from './shard-writer.ts'
import { runInThreads, type ThreadedWork } from './thread-pool.ts'

export interface ShardThreadInput {
  readonly content: ShardContent
  readonly modelFolder: string
  /** Hashes of the pieces of each tensor: what is read must be what the revision of the model stands for. */
  readonly digests: ReadonlyMap<string, Uint8Array>
  /** Exists already. */
  readonly shardFile: string
}

/**
 * @throws MeshError `safetensorsInvalid`, `weightsChanged` and what else reading a model throws | Error with the code
 * of the system
 */
export const writePiecesInThreads = (input: ShardThreadInput, work: ThreadedWork): Promise<void> =>
  runInThreads(new URL('./shard-thread.ts', import.meta.url), input, work)
