/** Loads this device's shard of a model and keeps it while epochs change around it. */
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import type { Logger } from '../../shared/log.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import type { Loading, RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import { findRingWish } from '../device/rings.ts'
import { type BackendChoice, blockColumnsFor, createBackend } from '../engine/choose-backend.ts'
import type { HostedBackend } from '../engine/host/hosted-backend.ts'
import { wantedThreads } from '../engine/wanted-threads.ts'
import { type EmbeddingReader, openEmbedding } from '../model/embedding.ts'
import { type Model, openModel, resolveModel } from '../model/model-folder.ts'
import { loadShard, type ShardFile } from '../model/shard-cache.ts'
import { loadTokenizer, type Tokenizer } from '../model/tokenizer.ts'
import type { ThreadGovernor } from './thread-governor.ts'

export interface LoadedShard {
  readonly key: string
  readonly model: Model
  readonly tokenizer: Tokenizer
  readonly embedding: EmbeddingReader
  readonly shard: ShardFile
  readonly backend: HostedBackend
  /** Its threads follow nothing any more. */
  ungovern(): void
}

export interface ShardLoaderOptions {
  readonly home: Home
  /** Folder of the models that come with Mesh. */
  readonly bundledModels: string
  readonly backend: BackendChoice
  /** Says how many threads compute, and follows what is free. */
  readonly governor: ThreadGovernor
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

interface LoadRequest {
  readonly ring: RingEpoch
  readonly member: RingMember
  readonly progress: (loading: Loading) => void
  readonly signal: AbortSignal
}

/** Work on the shard of one ring: one step after another, and all that was started can be told to give up. */
interface RingWork {
  last: Promise<unknown>
  abort: AbortController
  loaded: LoadedShard | undefined
}

/** Runs after what was asked for before, whether that worked or not. */
const enqueue = <T>(work: RingWork, action: () => Promise<T>): Promise<T> => {
  const next = work.last.then(action)
  work.last = next.catch(() => {})
  return next
}

const drop = async (work: RingWork): Promise<void> => {
  const { loaded } = work
  work.loaded = undefined
  try {
    loaded?.ungovern()
    await loaded?.backend.close()
  } finally {
    loaded?.model.close()
  }
}

const givenUp = (): Error => new Error('loading was given up: the ring was left, or the agent ends')

export class ShardLoader {
  readonly #options: ShardLoaderOptions
  readonly #rings = new Map<string, RingWork>()
  #closed = false

  constructor(options: ShardLoaderOptions) {
    this.#options = options
  }

  /**
   * What fails leaves nothing behind: no open file, no compute process.
   * @throws MeshError of model folder, shard cache or backend; `modelMismatch` when our files are others
   */
  load(ring: RingEpoch, member: RingMember, progress: (loading: Loading) => void): Promise<LoadedShard> {
    if (this.#closed) return Promise.reject(givenUp())
    const work = this.#rings.get(ring.ringId) ?? { last: Promise.resolve(), abort: new AbortController(), loaded: undefined }
    this.#rings.set(ring.ringId, work)
    const { signal } = work.abort
    return enqueue(work, () => this.#load(work, { ring, member, progress, signal }))
  }

  async #load(work: RingWork, { ring, member, progress, signal }: LoadRequest): Promise<LoadedShard> {
    signal.throwIfAborted()
    const key = shardKey(ring, member)
    if (work.loaded?.key === key) return work.loaded
    await drop(work)
    this.#options.admit(ring, member)
    await using acquired = new AsyncDisposableStack()
    const loaded = await this.#acquire(acquired, key, { ring, member, progress, signal })
    signal.throwIfAborted()
    acquired.move()
    work.loaded = loaded
    return loaded
  }

  /** Cheap checks of the whole folder come first: cutting can take hours. */
  async #acquire(acquired: AsyncDisposableStack, key: string, { ring, member, progress, signal }: LoadRequest): Promise<LoadedShard> {
    const { home, bundledModels, governor, spinMs, logger, backend: choice } = this.#options
    const { modelId, revision } = ring.model
    const { quant } = ring
    const wish = findRingWish(home, { poolId: ring.poolId, modelId, revision })
    const model = openModel(resolveModel(modelId, { home, bundledFolder: bundledModels, modelDir: wish?.modelDir }), modelId)
    acquired.defer(() => model.close())
    if (model.manifest.revision !== revision) {
      throw new MeshError('modelMismatch', { modelId, got: model.manifest.revision.slice(0, 12), want: revision.slice(0, 12) })
    }
    const tokenizer = loadTokenizer(model.folder)
    const embedding = openEmbedding(model)
    const shard = await loadShard({
      model, ranges: member.ranges, quant, block: blockColumnsFor(choice, quant), cacheFolder: home.shards, threads: governor.workers, signal, onProgress: progress,
    })
    signal.throwIfAborted()
    const { normEpsilon, rope } = model.config
    const shape = shapeIn(member, model.config.shape)
    const wanted = wantedThreads(shape, member.ranges)
    const threads = governor.threadsFor(wanted)
    const backend = await createBackend(
      choice,
      { shape, ranges: member.ranges, quant, normEpsilon, rope, threads, spinMs, shard },
      { logger, progress: (fraction) => progress({ phase: 'loading', bytes: Math.round(fraction * shard.bytes), totalBytes: shard.bytes }) },
    )
    acquired.defer(() => backend.close())
    return { key, model, tokenizer, embedding, shard, backend, ungovern: governor.govern(backend, wanted, threads) }
  }

  /** Gives up what is being loaded for a ring that this device left, and frees what was. */
  async unload(ringId: string): Promise<void> {
    const work = this.#rings.get(ringId)
    if (!work) return
    work.abort.abort(givenUp())
    work.abort = new AbortController()
    await enqueue(work, () => drop(work))
  }

  /** Ends everything, also what is being loaded. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#rings.keys()].map((ringId) => this.unload(ringId)))
  }
}
