/** Loads this device's shard of a model and keeps it while epochs change around it. */
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import type { Logger } from '../../shared/log.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import type { Loading, RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import { findRingWish } from '../device/rings.ts'
import { type BackendChoice, blockColumnsFor, createBackend } from '../engine/choose-backend.ts'
import type { HostedBackend } from '../engine/host/hosted-backend.ts'
import { type EmbeddingReader, openEmbedding } from '../model/embedding.ts'
import { type Model, openModel, resolveModel } from '../model/model-folder.ts'
import { loadShard, type ShardFile } from '../model/shard-cache.ts'
import { loadTokenizer, type Tokenizer } from '../model/tokenizer.ts'

export interface LoadedShard {
  readonly key: string
  readonly model: Model
  readonly tokenizer: Tokenizer
  readonly embedding: EmbeddingReader
  readonly shard: ShardFile
  readonly backend: HostedBackend
}

export interface ShardLoaderOptions {
  readonly home: Home
  /** Folder of the models that come with Mesh. */
  readonly bundledModels: string
  readonly backend: BackendChoice
  readonly threads: number
  readonly spinMs: number
  readonly logger: Logger
  /** @throws MeshError `ringTooLarge` when this device did not lock that much */
  admit(ring: RingEpoch, member: RingMember): void
}

/** Equal for two epochs when this device holds the same columns of the same weights in both. */
export const shardKey = (ring: RingEpoch, { ranges, context }: RingMember): string =>
  [context ?? '', ring.model.modelId, ring.model.revision, ring.quant, ...Object.values(ranges).map(({ start, end }) => `${start}-${end}`)].join('/')

/** The model's shape with the context that every rank of the ring has memory for. */
export const shapeIn = ({ context }: RingMember, shape: ModelShape): ModelShape => ({ ...shape, context: Math.min(context ?? shape.context, shape.context) })

export class ShardLoader {
  readonly #options: ShardLoaderOptions
  /** One shard per ring; loads of one ring run one after another. */
  readonly #loaded = new Map<string, LoadedShard>()
  readonly #queues = new Map<string, Promise<unknown>>()

  constructor(options: ShardLoaderOptions) {
    this.#options = options
  }

  /** @throws MeshError of model folder, shard cache or backend; `modelMismatch` when our files are others */
  load(ring: RingEpoch, member: RingMember, progress: (loading: Loading) => void): Promise<LoadedShard> {
    const before = this.#queues.get(ring.ringId) ?? Promise.resolve()
    const work = before.catch(() => {}).then(() => this.#load(ring, member, progress))
    this.#queues.set(ring.ringId, work)
    return work
  }

  async #load(ring: RingEpoch, member: RingMember, progress: (loading: Loading) => void): Promise<LoadedShard> {
    const key = shardKey(ring, member)
    const present = this.#loaded.get(ring.ringId)
    if (present?.key === key) return present
    await this.#drop(ring.ringId)
    this.#options.admit(ring, member)
    const { home, bundledModels, threads, spinMs, logger } = this.#options
    const { modelId } = ring.model
    const wish = findRingWish(home, ring.poolId, modelId)
    const model = await openModel(resolveModel(modelId, { home, bundledFolder: bundledModels, modelDir: wish?.modelDir }), modelId)
    if (model.manifest.revision !== ring.model.revision) {
      await model.close()
      throw new MeshError('modelMismatch', { modelId, got: model.manifest.revision.slice(0, 12), want: ring.model.revision.slice(0, 12) })
    }
    const shard = await loadShard({ model, ranges: member.ranges, quant: ring.quant, block: blockColumnsFor(this.#options.backend, ring.quant), cacheFolder: home.shards, threads, onProgress: progress })
    const backend = await createBackend(
      this.#options.backend,
      { shape: shapeIn(member, model.config.shape), ranges: member.ranges, quant: ring.quant, normEpsilon: model.config.normEpsilon, ropeTheta: model.config.ropeTheta, threads, spinMs, shard },
      { logger, progress: (fraction) => progress({ phase: 'loading', bytes: Math.round(fraction * shard.bytes), totalBytes: shard.bytes }) },
    )
    const loaded: LoadedShard = { key, model, tokenizer: await loadTokenizer(model.folder), embedding: openEmbedding(model), shard, backend }
    this.#loaded.set(ring.ringId, loaded)
    return loaded
  }

  /** Frees the shard of a ring that this device left. */
  async unload(ringId: string): Promise<void> {
    await this.#queues.get(ringId)?.catch(() => {})
    await this.#drop(ringId)
  }

  async close(): Promise<void> {
    for (const ringId of this.#loaded.keys()) await this.unload(ringId)
  }

  async #drop(ringId: string): Promise<void> {
    const loaded = this.#loaded.get(ringId)
    this.#loaded.delete(ringId)
    await loaded?.backend.close()
    await loaded?.model.close()
  }
}
