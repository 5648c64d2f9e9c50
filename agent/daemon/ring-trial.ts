/**
 * A device that a ring goes on without shows that it can take part, before anybody waits for it: it loads its part of
 * the epoch that would come, computes a token with it, and reaches every other member.
 */
import { MeshError } from '../../shared/errors.ts'
import type { Loading, RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import { createForward } from '../engine/forward.ts'
import { openResidual } from '../engine/residual.ts'
import type { Collective } from '../collective/collective.ts'
import { fractionOf } from './load-progress.ts'
import { type LoadedShard, shapeIn, type ShardLoader } from './shard-loader.ts'

export interface TrialView {
  readonly state: 'loading' | 'ready' | 'failed'
  readonly progress: number
  readonly loading?: Loading
  readonly error?: MeshError
}

export interface RingTrialOptions {
  readonly ring: RingEpoch
  readonly deviceId: string
  readonly loader: ShardLoader
  /** Connects to every other member. @throws MeshError `peerUnreachable` */
  reach(ring: RingEpoch, rank: number, signal: AbortSignal): Promise<void>
  onChange(trial: RingTrial): void
}

/** The sums of several ranks, without the others: what comes out is no text, and computed the same way. */
const alone: Collective = { name: 'alone', rank: 0, worldSize: 2, allReduce: async () => {} }

/** Runs one token through everything that a rank computes. @throws MeshError `backendFailed` */
const computeOnce = async (member: RingMember, { backend, embedding, model, shard }: LoadedShard): Promise<void> => {
  const embed = (tokens: readonly number[], into: Float32Array): void => embedding.read(tokens, into)
  const forward = createForward({
    shape: shapeIn(member, model.config.shape),
    ranges: member.ranges,
    backend,
    collective: alone,
    residual: openResidual(model.config.spec, shard),
    embed,
  })
  await forward.step({ job: 0, step: 0, sequences: [{ slot: 0, position: 0, tokens: [0], logits: 'last' }] })
  await backend.release('all')
}

export class RingTrial {
  readonly ring: RingEpoch
  readonly member: RingMember
  readonly #options: RingTrialOptions
  readonly #abort = new AbortController()
  #view: TrialView = { state: 'loading', progress: 0 }

  /** @throws MeshError `notInRing` */
  constructor(options: RingTrialOptions) {
    const member = options.ring.members.find(({ deviceId }) => deviceId === options.deviceId)
    if (!member) throw new MeshError('notInRing', { modelId: options.ring.model.modelId })
    this.ring = options.ring
    this.member = member
    this.#options = options
  }

  get view(): TrialView {
    return this.#view
  }

  /** Never throws: how it ends is told. What was loaded stays loaded where it worked. */
  async run(): Promise<void> {
    const { loader, reach } = this.#options
    const { ring, member } = this
    const { signal } = this.#abort
    if (signal.aborted) return // before its turn came
    this.#show({ state: 'loading', progress: 0 })
    try {
      const loaded = await loader.load(ring, member, (loading) =>
        this.#show({ state: 'loading', progress: fractionOf(loading), loading }),
      )
      signal.throwIfAborted()
      await computeOnce(member, loaded)
      signal.throwIfAborted()
      if (ring.members.length > 1) await reach(ring, member.rank, signal)
      this.#show({ state: 'ready', progress: 1 })
    } catch (error) {
      this.#show({ state: 'failed', progress: this.#view.progress, error: MeshError.from(error) })
    }
  }

  /** Gives up; nothing more is told. */
  close(): void {
    this.#abort.abort(new MeshError('epochStale', { got: this.ring.epoch, want: 'a newer one' }))
  }

  #show(view: TrialView): void {
    if (this.#abort.signal.aborted) return
    this.#view = view
    this.#options.onChange(this)
  }
}
