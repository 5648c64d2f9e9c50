/** A whole ring in one process, for tests: one engine per rank over a model folder, summed in rank order. */
import { join } from 'node:path'
import { planShards } from '../../../shared/plan/shard-plan.ts'
import type { Quant } from '../../../shared/schema/model.ts'
import type { RankRanges } from '../../../shared/schema/ring.ts'
import type { SequenceStep } from '../../../shared/wire/envelope.ts'
import type { Collective } from '../../collective/collective.ts'
import { openEmbedding } from '../../model/embedding.ts'
import type { Model } from '../../model/model-folder.ts'
import type { BlockColumns } from '../../model/quantize.ts'
import { loadShard } from '../../model/shard-cache.ts'
import type { Backend, BackendOptions } from '../backend.ts'
import type { Engine } from '../engine.ts'
import { createForward, type ForwardOptions } from '../forward.ts'
import { openResidual } from '../residual.ts'

export type CreateBackend = (options: BackendOptions) => Promise<Backend>

/** What an engine is made of, but for what sums. */
export type RankParts = Omit<ForwardOptions, 'collective'>

export interface RingOptions {
  readonly model: Model
  readonly shares: readonly number[]
  readonly quant: Quant
  readonly folder: string
  /** One for all ranks, or one per rank. */
  readonly create: CreateBackend | readonly CreateBackend[]
  /** Columns of a block of quantisation, one per rank in turn; 32 when not given. */
  readonly blocks?: readonly BlockColumns[]
  /** Rows from which a step runs in two lanes. */
  readonly laneRows?: number
  /** Engines of all ranks. Default: they sum in memory. */
  link?(ranks: readonly RankParts[]): Promise<readonly Engine[]>
}

/** All ranks meet, sum in rank order, and go on. */
export const createMeetingCollectives = (worldSize: number): Collective[] => {
  /** Under the operation: several may be on their way at once. */
  const meetings = new Map<number, { data: Float32Array; resolve(): void }[]>()
  return Array.from({ length: worldSize }, (_, rank) => ({
    name: 'meeting',
    rank,
    worldSize,
    allReduce: (data, { operation }) =>
      new Promise<void>((resolve) => {
        const waiting = meetings.get(operation) ?? []
        meetings.set(operation, waiting)
        waiting[rank] = { data, resolve }
        const here = waiting.filter(Boolean)
        if (here.length < worldSize) return
        meetings.delete(operation)
        const sum = Float32Array.from(here[0].data)
        for (const { data: part } of here.slice(1)) for (let i = 0; i < sum.length; i++) sum[i] += part[i]
        for (const one of here) one.data.set(sum)
        for (const one of here) one.resolve()
      }),
  }))
}

const linkInMemory = async (ranks: readonly RankParts[]): Promise<readonly Engine[]> => {
  const collectives = createMeetingCollectives(ranks.length)
  return ranks.map((parts, rank) => createForward({ ...parts, collective: collectives[rank] }))
}

export interface RingOfEngines {
  readonly engines: readonly Engine[]
  /** Logits of the wanted rows over the whole vocabulary, in order of rows. */
  step(sequences: readonly SequenceStep[]): Promise<Float32Array[]>
  release(slot: number): Promise<void>
  close(): Promise<void>
}

/** Engines of all ranks as one. */
export const ringOf = (engines: readonly Engine[], plan: readonly RankRanges[], vocab: number): RingOfEngines => {
  let steps = 0
  return {
    engines,
    step: async (sequences) => {
      const step = steps++
      const results = await Promise.all(engines.map((engine) => engine.step({ job: 1, step, sequences })))
      return results[0].rows.map((_, row) => {
        const whole = new Float32Array(vocab)
        for (const [rank, { rows }] of results.entries()) whole.set(rows[row].logits, plan[rank].vocab.start)
        return whole
      })
    },
    release: async (slot) => {
      await Promise.all(engines.map((engine) => engine.release(slot)))
    },
    close: async () => {
      await Promise.all(engines.map((engine) => engine.close()))
    },
  }
}

export const openRing = async ({
  model,
  shares,
  quant,
  folder,
  create,
  laneRows,
  blocks,
  link = linkInMemory,
}: RingOptions): Promise<RingOfEngines> => {
  const plan = planShards(model.config.shape, shares)
  const embedding = openEmbedding(model)
  const ranks = await Promise.all(
    plan.map(async (ranges, rank): Promise<RankParts> => {
      const shard = await loadShard({
        model,
        ranges,
        quant,
        block: blocks?.[rank % blocks.length],
        cacheFolder: join(folder, `rank-${rank}`),
      })
      const { shape } = model.config
      const make = typeof create === 'function' ? create : create[rank % create.length]
      const backend = await make({ spec: model.config.spec, shape, ranges, quant, threads: 1, shard })
      return {
        shape,
        ranges,
        backend,
        residual: openResidual(model.config.spec, shard),
        embed: (tokens, into) => embedding.read(tokens, into),
        laneRows,
      }
    }),
  )
  return ringOf(await link(ranks), plan, model.config.shape.vocab)
}
