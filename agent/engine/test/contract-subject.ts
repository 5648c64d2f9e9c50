/** What the contract of backends runs on: a small model of random weights, and an engine over the backend. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { planShards } from '../../../shared/plan/shard-plan.ts'
import type { ModelShape } from '../../../shared/schema/model.ts'
import { type Collective, soloCollective } from '../../collective/collective.ts'
import { vectors } from '../../collective/vectors.ts'
import { openEmbedding } from '../../model/embedding.ts'
import { type Model, openModel } from '../../model/model-folder.ts'
import { writeRandomModel } from '../../model/random-model.ts'
import { loadShard } from '../../model/shard-cache.ts'
import type { Backend } from '../backend.ts'
import type { Engine } from '../engine.ts'
import { createForward } from '../forward.ts'
import type { Residual } from '../residual.ts'
import { createGgmlBackend } from '../../compute/ggml/ggml-backend.ts'
import type { HostedBackend } from '../../compute/hosted-backend.ts'
import { createOnnxBackend } from '../../compute/onnx/onnx-backend.ts'
import { ggmlComes } from './platform.ts'

export const creators = { onnx: createOnnxBackend, ...(ggmlComes ? { ggml: createGgmlBackend } : {}) }

/**
 * A context longer than two buckets of any cache; so wide that what a step or a sequence leaves behind shows in the
 * memory of the process.
 */
export const contractShape: ModelShape = {
  layers: 2,
  hidden: 256,
  heads: 8,
  kvHeads: 4,
  headDim: 32,
  ffn: 352,
  vocab: 4000,
  context: 600,
}

/** The model on disk and a shard of all of it. */
export interface Subject {
  readonly model: Model
  /** Starts a backend over the whole model, f32. @param progress called with 0..1 */
  open(progress?: (fraction: number) => void): Promise<HostedBackend>
  /** Removes model and shard. */
  close(): void
}

/** @param create a backend in its own thread or process, as agents use it */
export const openSubject = (create: typeof createOnnxBackend | typeof createGgmlBackend): Subject => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-contract-'))
  writeRandomModel(join(folder, 'model'), { shape: contractShape, tied: false, dtype: 'F32', seed: 11 })
  const model = openModel(join(folder, 'model'), 'random')
  const { shape } = model.config
  const [ranges] = planShards(shape, [1])
  return {
    model,
    open: async (progress) => {
      const shard = await loadShard({ model, ranges, quant: 'f32', cacheFolder: join(folder, 'shards') })
      return create({ spec: model.config.spec, shape, ranges, quant: 'f32', threads: 1, shard }, progress)
    },
    close: () => {
      model.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A rank that has others, which add nothing: half layers run one by one, not all in one command. */
export const otherRanks: Collective = { ...soloCollective, name: 'zeros', worldSize: 2 }

export const text = (length: number, seed: number): number[] =>
  Array.from({ length }, (_, i) => (i * 31 + seed * 17 + (i % 7)) % contractShape.vocab)

/** One prompt or part of it. */
interface Piece {
  readonly slot: number
  readonly position: number
  readonly tokens: readonly number[]
}

/** That of a model without norms behind its halves. */
const plainResidual = (layers: number): Residual => ({
  halves: Array.from({ length: layers }, (_, layer) => [
    { layer, half: 'attention' } as const,
    { layer, half: 'mlp' } as const,
  ]).flat(),
  add: (_, residual, sum) => vectors.add(residual, sum),
})

/** An engine over the backend, and its logits of each piece's last row. */
export const engineOver = (
  { model }: Subject,
  backend: Backend,
  collective: Collective = otherRanks,
): { readonly engine: Engine; last(...pieces: readonly Piece[]): Promise<Float32Array[]> } => {
  const { shape } = model.config
  const embedding = openEmbedding(model)
  const engine = createForward({
    shape,
    ranges: planShards(shape, [1])[0],
    backend,
    collective,
    residual: plainResidual(shape.layers),
    embed: (tokens, into) => embedding.read(tokens, into),
  })
  let step = 0
  return {
    engine,
    last: async (...pieces) => {
      const { rows } = await engine.step({
        job: 1,
        step: step++,
        sequences: pieces.map((piece) => ({ ...piece, tokens: [...piece.tokens], logits: 'last' })),
      })
      return rows.map(({ logits }) => logits.slice())
    },
  }
}

export type Check = (subject: Subject) => Promise<void>

/** Runs the check and closes the backend, whatever comes of it. */
export const withBackend =
  (check: (subject: Subject, backend: HostedBackend) => Promise<void>): Check =>
  async (subject) => {
    const backend = await subject.open()
    try {
      await check(subject, backend)
    } finally {
      await backend.close()
    }
  }
