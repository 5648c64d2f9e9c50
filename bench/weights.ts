/** The weights of one rank: cut from a model folder, or random ones of a shape. */
import type { ModelShape, Quant } from '../shared/schema/model.ts'
import type { RankRanges } from '../shared/schema/ring.ts'
import { type BackendChoice, blockColumnsFor } from '../agent/compute/choose-backend.ts'
import { llamaSpec } from '../agent/model/architecture/llama.ts'
import type { ModelSpec } from '../agent/model/architecture/model-spec.ts'
import { openEmbedding } from '../agent/model/embedding.ts'
import { openModel } from '../agent/model/model-folder.ts'
import { loadShard, type ShardFile } from '../agent/model/shard-cache.ts'
import { randomEmbedding, writeRandomShard } from './random-shard.ts'
import type { RankIdentity } from './rank-node.ts'

/** Which weights a rank computes with. */
export interface WeightSettings {
  /** That of the folder, if there is one. */
  readonly shape: ModelShape
  /** Weights of this model, in place of random ones. */
  readonly modelFolder: string | undefined
  readonly quant: Quant
  readonly backend: BackendChoice
}

export interface Weights {
  readonly shard: ShardFile
  readonly spec: ModelSpec
  /** Milliseconds that cutting and quantising took, or making the weights up. */
  readonly shardMs: number
  embed(tokens: readonly number[], into: Float32Array): void
  close(): void
}

/** @throws MeshError of model folder or shard cache */
export const openWeights = async (
  { shape, quant, backend, modelFolder, folder }: WeightSettings & RankIdentity,
  ranges: RankRanges,
): Promise<Weights> => {
  const started = performance.now()
  const block = blockColumnsFor(backend, quant)
  if (modelFolder === undefined) {
    const spec = llamaSpec({ shape, normEpsilon: 1e-5, rope: { theta: 10_000 }, tiedEmbeddings: false })
    const shard = writeRandomShard(folder, ranges, { spec, quant, block })
    return {
      shard,
      spec,
      shardMs: performance.now() - started,
      embed: randomEmbedding(shape.hidden),
      close: () => {},
    }
  }
  const model = openModel(modelFolder, 'bench')
  const shard = await loadShard({ model, ranges, quant, block, cacheFolder: folder })
  const embedding = openEmbedding(model)
  return {
    shard,
    spec: model.config.spec,
    shardMs: performance.now() - started,
    embed: (tokens, into) => embedding.read(tokens, into),
    close: () => model.close(),
  }
}
