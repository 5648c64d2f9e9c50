/** The weights of one rank: cut from a model, or random ones of a shape. */
import type { ModelShape, Quant } from '../shared/schema/model.ts'
import type { RankRanges } from '../shared/schema/ring.ts'
import { type BackendChoice, blockColumnsFor } from '../agent/compute/choose-backend.ts'
import type { ModelSpec } from '../agent/model/architecture/model-spec.ts'
import { openEmbedding } from '../agent/model/embedding.ts'
import { openModel } from '../agent/model/model-folder.ts'
import { loadShard, type ShardFile } from '../agent/model/shard-cache.ts'
import { randomEmbedding, shardTypes, writeRandomShard } from './random-shard.ts'
import type { RankIdentity } from './rank-node.ts'
import { modelOfShape } from './shapes.ts'
import { mixedTypes, type TypesName } from './weight-types.ts'

/** Which weights a rank computes with. */
export interface WeightSettings {
  /** Of the model. */
  readonly shape: ModelShape
  /** Random weights of this `--shape`, where no model is named. */
  readonly shapeName?: string
  /** Weights of this folder or GGUF file. */
  readonly modelFolder: string | undefined
  readonly quant: Quant
  /** Of random weights, where `quant` keeps those of a file. */
  readonly types?: TypesName
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

type Settings = WeightSettings & Pick<RankIdentity, 'folder'>

const randomShard = ({ shapeName = '', quant, types, backend, folder }: Settings, ranges: RankRanges) => {
  const { spec } = modelOfShape(shapeName)
  const block = blockColumnsFor(backend, quant)
  const kept = types === undefined ? undefined : shardTypes(spec, ranges, mixedTypes(spec, types))
  return { spec, shard: writeRandomShard(folder, { spec, ranges, quant, block, ...(kept && { types: kept }) }) }
}

/** @throws MeshError of model folder or shard cache */
export const openWeights = async (settings: Settings, ranges: RankRanges): Promise<Weights> => {
  const { shape, quant, backend, modelFolder, folder } = settings
  const started = performance.now()
  if (modelFolder === undefined)
    return {
      ...randomShard(settings, ranges),
      shardMs: performance.now() - started,
      embed: randomEmbedding(shape.hidden),
      close: () => {},
    }
  const model = openModel(modelFolder, 'bench')
  const shard = await loadShard({ model, ranges, quant, block: blockColumnsFor(backend, quant), cacheFolder: folder })
  const embedding = openEmbedding(model)
  return {
    shard,
    spec: model.config.spec,
    shardMs: performance.now() - started,
    embed: (tokens, into) => embedding.read(tokens, into),
    close: () => model.close(),
  }
}
