/**
 * A whole ring in this process whose ranks check each other, and ranks that lie: for tests and `bench/spot-checks.ts`.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { planShards } from '../../../shared/plan/shard-plan.ts'
import type { Quant } from '../../../shared/schema/model.ts'
import { createCollective } from '../../collective/chooser.ts'
import { createMemoryChannels } from '../../channel/test/memory-channel.ts'
import type { WireType } from '../../collective/wire-types.ts'
import type { Backend } from '../../engine/backend.ts'
import type { Engine } from '../../engine/engine.ts'
import { createForward } from '../../engine/forward.ts'
import { inlineBackends } from '../../engine/test/inline-backend.ts'
import { openRing, type RingOfEngines } from '../../engine/test/ring-of-engines.ts'
import type { Model } from '../../model/model-folder.ts'
import type { BlockColumns } from '../../model/quantize.ts'

/** What a rank adds to its part of a half layer, in place. */
export type Lie = (half: { readonly kind: 'attention' | 'mlp'; readonly layer: number }, row: Float32Array) => void

const norm = (values: ArrayLike<number>): number => Math.hypot(...Array.from(values))

const gauss = (random: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())

/** Adds so much in a direction, as a fraction of the norm of the row. */
const push = (row: Float32Array, direction: ArrayLike<number>, fraction: number): void => {
  const scale = (fraction * norm(row)) / norm(direction)
  for (let i = 0; i < row.length; i++) row[i] += scale * direction[i]
}

/** Another direction every time. */
export const noise =
  (fraction: number, random: () => number): Lie =>
  (_, row) =>
    push(
      row,
      row.map(() => gauss(random)),
      fraction,
    )

/** Always the same direction, in some layers. */
export const steer = (fraction: number, layers: readonly number[], random: () => number): Lie => {
  let direction: ArrayLike<number> | undefined
  return ({ layer }, row) => {
    direction ??= row.map(() => gauss(random))
    if (layers.includes(layer)) push(row, direction, fraction)
  }
}

/** A backend whose parts are not what it computes. */
export const lyingBackend = (backend: Backend, hidden: number, lie: Lie): Backend => {
  let partial: Float32Array = new Float32Array(0)
  const lieIn = (half: Parameters<Lie>[0], first: number, rows: number): void => {
    for (let row = first; row < first + rows; row++) lie(half, partial.subarray(row * hidden, (row + 1) * hidden))
  }
  return {
    ...backend,
    buffers: async (rows) => {
      const buffers = await backend.buffers(rows)
      partial = buffers.partial
      return buffers
    },
    attention: async (layer, spans) => {
      await backend.attention(layer, spans)
      lieIn(
        { kind: 'attention', layer },
        spans[0].start,
        spans.reduce((sum, { count }) => sum + count, 0),
      )
    },
    feedForward: async (layer, rows, firstRow = 0) => {
      await backend.feedForward(layer, rows, firstRow)
      lieIn({ kind: 'mlp', layer }, firstRow, rows)
    },
  }
}

export type Kind = keyof typeof inlineBackends

/** Columns of a block of quantisation that agents with this backend have. */
export const blockOf = (kind: Kind, quant: Quant): BlockColumns => (kind === 'onnx' && quant === 'q4' ? 128 : 32)

export interface CheckedRingOptions {
  readonly model: Model
  /** Backend of each rank; as many ranks. */
  readonly kinds: readonly Kind[]
  readonly shares?: readonly number[]
  readonly quant: Quant
  readonly wire?: WireType
  /** By rank. */
  readonly lies?: Readonly<Record<number, Lie>>
  /** Puts something around the engine of a rank. */
  around?(engine: Engine, rank: number): Engine
}

/** Over channels in memory, in a direct exchange. */
export const openCheckedRing = async ({
  model,
  kinds,
  quant,
  wire = 'f32',
  lies = {},
  around = (engine) => engine,
  shares = kinds.map(() => 1),
}: CheckedRingOptions): Promise<RingOfEngines> => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-checks-'))
  const channels = createMemoryChannels(kinds.length, 60_000)
  const { hidden } = model.config.shape
  const ring = await openRing({
    model,
    shares,
    quant,
    folder,
    blocks: kinds.map((kind) => blockOf(kind, quant)),
    create: kinds.map((kind, rank) => async (options) => {
      const backend = await (inlineBackends[kind] as (typeof inlineBackends)['onnx'])(options)
      return lies[rank] ? lyingBackend(backend, hidden, lies[rank]) : backend
    }),
    link: (parts) =>
      Promise.resolve(
        parts.map((part, rank) => {
          const collective = createCollective(channels[rank])
          collective.use({ algorithm: 'direct', wire })
          return around(createForward({ ...part, collective }), rank)
        }),
      ),
  })
  return {
    ...ring,
    close: async () => {
      await ring.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** MLP columns of every rank. */
export const ffnOf = ({ config }: Model, shares: readonly number[]) =>
  planShards(config.shape, shares).map(({ ffn }) => ffn)
