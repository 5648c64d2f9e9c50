/** Loads this device's shard of a model and keeps it while epochs change around it. */
import { MeshError, problemOf } from '../../shared/errors.ts'
import { shortRevision } from '../../shared/ids.ts'
import type { Home } from '../../shared/home.ts'
import type { Logger } from '../../shared/log.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import type { Loading, RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import { findRingIntent } from '../device/rings.ts'
import { type BackendChoice, blockColumnsFor, createBackend } from '../compute/choose-backend.ts'
import type { HostedBackend } from '../compute/hosted-backend.ts'
import { wantedThreads } from '../engine/wanted-threads.ts'
import { embeddingRole, type EmbeddingReader, openEmbedding } from '../model/embedding.ts'
import { forgetHashes } from '../model/hash-store.ts'
import { type Model, type ModelIdentity, openModel, resolveModel } from '../model/model-folder.ts'
import { checkTensor } from '../model/model-hashes.ts'
import type { BlockColumns } from '../model/quantize.ts'
import { rangesText } from '../model/shard-ranges.ts'
import { loadShard, type ShardFile } from '../model/shard-cache.ts'
import { releaseShard } from '../model/shard-store.ts'
import { loadTokenizer, type Tokenizer } from '../model/tokenizer.ts'
import { keepShardsWithin } from './shard-room.ts'
import type { ThreadGovernor } from './thread-governor.ts'

export interface LoadedShard {
  readonly key: string
  readonly model: Model
  readonly tokenizer: Tokenizer
  readonly embedding: EmbeddingReader
  readonly shard: ShardFile
  /** Columns of a block of quantisation in it. */
  readonly block: BlockColumns
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
  /** Bytes that all shards together may take; see `keepShardsWithin`. */
  readonly maxBytes?: number
  /** @throws MeshError `ringTooLarge` when this device did not lock that much */
  admit(ring: RingEpoch, member: RingMember): void
}

/** Equal for two epochs when this device holds the same columns of the same weights in both. */
export const shardKey = (ring: RingEpoch, { ranges, context }: RingMember): string =>
  [context ?? '', ring.model.modelId, ring.model.revision, ring.quant, rangesText(ranges)].join('/')

/** The model's shape with the context that every rank of the ring has memory for. */
export const shapeIn = ({ context }: RingMember, shape: ModelShape): ModelShape => ({
  ...shape,
  context: Math.min(context ?? shape.context, shape.context),
})

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
  /** Of the newest request: while an older one is finished first, it is told of that. */
  progress: (loading: Loading) => void
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
    if (loaded) releaseShard(loaded.shard)
    loaded?.model.close()
  }
}

/** The epoch that it was for is over, and another one of that ring was asked for. */
const superseded = (): Error => new Error('loading was not begun: the ring has another epoch')

const givenUp = (): Error => new Error('loading was given up: the ring was left, or the agent ends')

export class ShardLoader {
  readonly #options: ShardLoaderOptions
  readonly #rings = new Map<string, RingWork>()
  #closed = false

  constructor(options: ShardLoaderOptions) {
    this.#options = options
  }

  /** Removes shards beyond the bound, and what a killed agent left half made. */
  tidy(): void {
    try {
      keepShardsWithin(this.#options)
    } catch (error) {
      this.#options.logger.warn(`the shards on disk could not be looked at: ${problemOf(error)}`)
    }
  }

  /**
   * What fails leaves nothing behind: no open file, no compute process.
   * @throws MeshError of model folder, shard cache or backend; `modelMismatch` when our files are others
   */
  load(ring: RingEpoch, member: RingMember, progress: (loading: Loading) => void): Promise<LoadedShard> {
    if (this.#closed) return Promise.reject(givenUp())
    const work = this.#rings.get(ring.ringId) ?? {
      last: Promise.resolve(),
      abort: new AbortController(),
      loaded: undefined,
      progress,
    }
    this.#rings.set(ring.ringId, work)
    const { signal } = work.abort
    work.progress = progress
    return enqueue(work, () => {
      if (work.progress !== progress) throw superseded()
      return this.#load(work, { ring, member, progress: (loading) => work.progress(loading), signal })
    })
  }

  async #load(work: RingWork, { ring, member, progress, signal }: LoadRequest): Promise<LoadedShard> {
    signal.throwIfAborted()
    const key = shardKey(ring, member)
    if (work.loaded?.key === key) return work.loaded
    await drop(work)
    this.#options.admit(ring, member)
    await using acquired = new AsyncDisposableStack()
    const model = this.#open(ring)
    acquired.defer(() => model.close())
    const loaded = await this.#acquire(acquired, key, { model, ring, member, progress, signal }).catch(
      (error: unknown) => {
        if (error instanceof MeshError && error.code === 'weightsChanged')
          forgetHashes(this.#options.home.hashes, model.files)
        throw error
      },
    )
    signal.throwIfAborted()
    acquired.move()
    work.loaded = loaded
    return loaded
  }

  #open({ poolId, model: { modelId, revision } }: RingEpoch): Model {
    const { home, bundledModels } = this.#options
    const modelDir = findRingIntent(home, { poolId, modelId, revision })?.modelDir
    return openModel(resolveModel(modelId, { home, bundledFolder: bundledModels, modelDir }), modelId)
  }

  /** Cheap checks of the whole folder come first: cutting can take hours. */
  async #acquire(
    acquired: AsyncDisposableStack,
    key: string,
    { model, ring, member, progress, signal }: LoadRequest & { readonly model: Model },
  ): Promise<LoadedShard> {
    const { home, governor, spinMs, logger, backend: choice } = this.#options
    const {
      quant,
      model: { revision },
    } = ring
    const tokenizer = loadTokenizer(model.folder)
    const digests = await this.#identify(model, { revision, signal, progress })
    const embedding = openEmbedding(model, digests)
    const use = { poolId: ring.poolId, modelId: ring.model.modelId }
    const block = blockColumnsFor(choice, quant)
    const shard = await loadShard({
      model,
      ranges: member.ranges,
      quant,
      block,
      cacheFolder: home.shards,
      threads: governor.workers,
      signal,
      onProgress: progress,
      use,
      makeRoom: (bytes) => keepShardsWithin(this.#options, { ...use, bytes }),
    })
    acquired.defer(() => releaseShard(shard))
    signal.throwIfAborted()
    const shape = shapeIn(member, model.config.shape)
    const wanted = wantedThreads(shape, member.ranges)
    const threads = governor.threadsFor(wanted)
    const backend = await createBackend(
      choice,
      { spec: model.config.spec, shape, ranges: member.ranges, quant, threads, spinMs, shard },
      {
        logger,
        progress: (fraction) =>
          progress({ phase: 'loading', bytes: Math.round(fraction * shard.bytes), totalBytes: shard.bytes }),
      },
    )
    acquired.defer(() => backend.close())
    return {
      key,
      model,
      tokenizer,
      embedding,
      shard,
      block,
      backend,
      ungovern: governor.govern(backend, wanted, threads),
    }
  }

  /** Reads what must be read to know that our files are those of the ring. @returns hashes of their pieces */
  async #identify(
    model: Model,
    { revision, signal, progress }: Pick<LoadRequest, 'signal' | 'progress'> & { readonly revision: string },
  ): Promise<ModelIdentity['digests']> {
    const {
      home,
      governor: { workers: threads },
    } = this.#options
    const checking = (bytes: number, totalBytes: number): void => progress({ phase: 'checking', bytes, totalBytes })
    const own = await model.identify({ cacheFolder: home.hashes, threads, signal, onProgress: checking })
    if (own.revision !== revision) {
      throw new MeshError('modelMismatch', {
        modelId: model.about.modelId,
        got: shortRevision(own.revision),
        want: shortRevision(revision),
      })
    }
    const { digests } = own
    for (const { name } of model.partsOf(embeddingRole))
      if (!own.read.has(name)) await checkTensor(model, name, { digests, threads, signal, onProgress: checking })
    return digests
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
