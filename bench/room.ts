/** What a benchmark of inference writes and holds, told and checked before it begins. */
import { statfsSync } from 'node:fs'
import { availableMemory } from 'node:process'
import { blockColumnsFor } from '../agent/compute/choose-backend.ts'
import { openModel } from '../agent/model/model-folder.ts'
import { layoutShard } from '../agent/model/shard-cache.ts'
import { storedTypes } from '../agent/model/shard-types.ts'
import { MeshError } from '../shared/errors.ts'
import { planShards } from '../shared/plan/shard-plan.ts'
import type { RankRanges } from '../shared/schema/ring.ts'
import { formatBytes } from '../shared/words.ts'
import type { InferenceOptions, Room } from './inference-orders.ts'
import { shardTypes } from './random-shard.ts'
import { modelOfShape } from './shapes.ts'
import { mixedTypes } from './weight-types.ts'

type Content = Parameters<typeof layoutShard>[0]

const contentsOf = (options: InferenceOptions, plan: readonly RankRanges[]): Content[] => {
  const { modelFolder, shapeName = '', quant, types, backend } = options
  const block = blockColumnsFor(backend, quant)
  if (modelFolder === undefined) {
    const { spec } = modelOfShape(shapeName)
    return plan.map((ranges) => ({
      spec,
      ranges,
      quant,
      block,
      ...(types && { types: shardTypes(spec, ranges, mixedTypes(spec, types)) }),
    }))
  }
  const model = openModel(modelFolder, 'bench')
  try {
    const { spec } = model.config
    return plan.map((ranges) => ({
      spec,
      ranges,
      quant,
      block,
      ...(quant === 'file' && { types: storedTypes(spec, ranges, model.roles()) }),
    }))
  } finally {
    model.close()
  }
}

/** @param beside bytes of the file that is written for llama.cpp, and that it holds; `written` where it is there yet */
export const roomFor = (
  options: InferenceOptions,
  beside: { readonly bytes: number; readonly written: boolean } | undefined,
): Room => {
  const plan = planShards(
    options.shape,
    Array.from({ length: options.workers }, () => 1),
  )
  const shards = contentsOf(options, plan).reduce((sum, content) => sum + layoutShard(content).bytes, 0)
  return {
    disk: shards + (beside && !beside.written ? beside.bytes : 0),
    memory: shards + (beside?.bytes ?? 0),
  }
}

/** @throws MeshError `benchRoom` before anything is written that would not fit */
export const checkRoom = (
  { disk, memory }: Room,
  folder: string,
  free: Room = { disk: freeBytes(folder), memory: availableMemory() },
): void => {
  const short = (place: string, need: number, has: number): never => {
    throw new MeshError('benchRoom', { need: formatBytes(need), place, free: formatBytes(has) })
  }
  if (disk > free.disk) short(folder, disk, free.disk)
  if (memory > free.memory) short('memory', memory, free.memory)
}

const freeBytes = (folder: string): number => {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}
