/** A ring in one process over canonical tensors that never were a file. */
import { closeSync, ftruncateSync, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { planShards } from '../../../shared/plan/shard-plan.ts'
import type { ModelShape, Quant } from '../../../shared/schema/model.ts'
import type { RankRanges } from '../../../shared/schema/ring.ts'
import type { ModelSpec } from '../../model/architecture/model-spec.ts'
import type { Roles } from '../../model/architecture/tensor-roles.ts'
import type { ShardFile } from '../../model/shard-cache.ts'
import { layoutShard } from '../../model/shard-layout.ts'
import { piecesOf, type ShardContent, ShardWriter } from '../../model/shard-writer.ts'
import { storedTypes } from '../../model/shard-types.ts'
import { createForward } from '../forward.ts'
import { openResidual } from '../residual.ts'
import { type CreateBackend, createMeetingCollectives, type RingOfEngines, ringOf } from './ring-of-engines.ts'

export interface PartsRingOptions {
  readonly spec: ModelSpec
  readonly shape: ModelShape
  readonly roles: Roles
  readonly shares: readonly number[]
  readonly quant: Quant
  readonly folder: string
  readonly create: CreateBackend
  readonly laneRows?: number
}

/** A shard in that folder. */
const writeShard = (content: ShardContent, roles: Roles, folder: string): ShardFile => {
  mkdirSync(folder, { recursive: true })
  const weights = join(folder, 'weights.bin')
  const layout = layoutShard(content)
  const handle = openSync(weights, 'w')
  ftruncateSync(handle, layout.bytes)
  const writer = new ShardWriter(content, handle)
  writer.plain(roles)
  for (const piece of piecesOf(content)) writer.piece(roles, piece)
  closeSync(handle)
  return { folder, weights, tensors: new Map(layout.tensors), bytes: layout.bytes, hash: 'test', claim: undefined }
}

export const openPartsRing = async (options: PartsRingOptions): Promise<RingOfEngines> => {
  const { spec, shape, roles, shares, quant, folder, create, laneRows } = options
  const plan = planShards(shape, shares)
  const embedding = roles.role('embedding')
  const embed = (tokens: readonly number[], into: Float32Array): void => {
    for (const [row, token] of tokens.entries()) {
      const values = embedding.readRows(token, token + 1)
      for (let i = 0; i < spec.hidden; i++) into[row * spec.hidden + i] = values[i] * spec.embeddingScale
    }
  }
  const collectives = createMeetingCollectives(shares.length)
  const engineOf = async (ranges: RankRanges, rank: number) => {
    const shard = writeShard(
      { spec, ranges, quant, types: quant === 'file' ? storedTypes(spec, ranges, roles) : undefined },
      roles,
      join(folder, `rank-${rank}`),
    )
    const backend = await create({ spec, shape, ranges, quant, threads: 1, shard })
    const residual = openResidual(spec, shard)
    return createForward({ shape, ranges, backend, residual, collective: collectives[rank], embed, laneRows })
  }
  return ringOf(await Promise.all(plan.map(engineOf)), plan, spec.vocab)
}
