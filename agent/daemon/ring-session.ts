/**
 * One ring as this device lives it: for each epoch loads the shard, links to the peers, and then leads or follows.
 * A new epoch replaces the older one; the shard stays loaded when its columns are the same.
 */
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Loading, RingEpoch, RingLink, RingMember, RingNetwork } from '../../shared/schema/ring.ts'
import { assembleRank, type CarrierChoice } from '../rank/assemble-rank.ts'
import type { RingEngine } from '../rank/ring-engine.ts'
import { type CollectiveSettings, costOf, slowestOf } from '../collective/chooser.ts'
import { type Follower, type JobOutcome, startFollower } from '../generation/follower.ts'
import { Leader } from '../generation/leader.ts'
import type { RankWork } from '../generation/protocol.ts'
import type { RingChannel } from '../network/ring-channel.ts'
import type { RankView } from '../checks/checked-rank.ts'
import { SpotChecks } from '../checks/spot-checks.ts'
import { watchEngine } from '../checks/watched-engine.ts'
import { fractionOf } from './load-progress.ts'
import { networkOf } from './ring-network.ts'
import { nameEngine } from './named-engine.ts'
import { type LoadedShard, shapeIn, type ShardLoader, shardKey } from './shard-loader.ts'

export type SessionState = 'loading' | 'ready' | 'failed' | 'closed'

/** What the agent reports of a session. */
export interface SessionView {
  readonly ring: RingEpoch
  readonly member: RingMember
  readonly state: SessionState
  readonly progress: number
  /** While it loads. */
  readonly loading: Loading | undefined
  readonly loaded: LoadedShard | undefined
  readonly error: MeshError | undefined
  readonly bytesSent: number
  /** On rank 0 of a ready epoch of several ranks. */
  readonly network: RingNetwork | undefined
  /** What the sums of the other ranks turned out to be. */
  readonly checks: readonly RankView[]
}

export interface RingSessionOptions {
  readonly ring: RingEpoch
  readonly deviceId: string
  readonly loader: ShardLoader
  /** Where half layers lie that spot checks compute with. */
  readonly checksFolder: string
  /** Links of this epoch to the other ranks; aborting the signal gives up. */
  connect(
    ring: RingEpoch,
    rank: number,
    signal: AbortSignal,
    onMissing: (ranks: readonly number[]) => void,
  ): Promise<RingChannel>
  /** What this device wants when it leads. */
  readonly settings: CollectiveSettings
  readonly carrier: CarrierChoice
  readonly logger: Logger
  onChange(session: RingSession): void
  /** A job of another rank ended here. */
  onFollowed(outcome: JobOutcome): void
  /** This rank did its part of a job. */
  onWork(session: RingSession, work: RankWork): void
}

export class RingSession {
  readonly ring: RingEpoch
  readonly member: RingMember
  readonly #options: RingSessionOptions
  readonly #abort = new AbortController()
  #state: SessionState = 'loading'
  #loading: Loading | undefined
  #error: MeshError | undefined
  #loaded: LoadedShard | undefined
  #channel: RingChannel | undefined
  #network: RingNetwork | undefined
  #engine: RingEngine | undefined
  /** Why sums do not go over sockets, if they do not. */
  #streamsReason: string | undefined
  #leader: Leader | undefined
  #follower: Follower | undefined
  #checks: SpotChecks | undefined
  /** Jobs that run here now. */
  #busy = 0

  constructor(options: RingSessionOptions) {
    const member = options.ring.members.find(({ deviceId }) => deviceId === options.deviceId)
    if (!member) throw new MeshError('notInRing', { modelId: options.ring.model.modelId })
    this.ring = options.ring
    this.member = member
    this.#options = options
  }

  /** Loads and links. Failures end up in the state: the control plane decides what happens next. */
  async open(): Promise<void> {
    const { loader, logger, connect } = this.#options
    try {
      this.#loaded = await loader.load(this.ring, this.member, (loading) => this.#show(loading))
      this.#abort.signal.throwIfAborted()
      const { bytes } = this.#loaded.shard
      const linking = (missing: readonly number[]): void =>
        this.#show({ phase: 'linking', bytes, totalBytes: bytes, missing: [...missing] })
      linking(this.ring.members.map(({ rank }) => rank).filter((rank) => rank !== this.member.rank))
      if (this.ring.members.length > 1)
        this.#channel = await connect(this.ring, this.member.rank, this.#abort.signal, linking)
      this.#abort.signal.throwIfAborted()
      await this.#loaded.backend.release('all') // sequences of an older epoch
      const links = await this.#assemble(this.#loaded)
      this.#abort.signal.throwIfAborted()
      this.#checks = await this.#startChecks(this.#loaded)
      this.#abort.signal.throwIfAborted()
      this.#startRank(this.#loaded, links)
      this.#state = 'ready'
      logger.info(
        { ring: this.ring.ringId, epoch: this.ring.epoch, rank: this.member.rank, worldSize: this.ring.members.length },
        'ring epoch ready',
      )
      this.#changed()
    } catch (error) {
      if (this.#state !== 'closed') this.#fail(MeshError.from(error))
      await this.#checks?.close()
      await this.#channel?.close()
    }
  }

  #show(loading: Loading): void {
    this.#loading = loading
    this.#changed()
  }

  /** Links are measured, and sockets opened, anew for every epoch, because devices move. @returns what the links cost */
  async #assemble({ backend, embedding, model }: LoadedShard): Promise<readonly RingLink[]> {
    const started = performance.now()
    const { logger, carrier } = this.#options
    const { engine, links, streamsReason } = await assembleRank({
      ring: this.ring,
      backend,
      channel: this.#channel,
      carrier,
      logger,
      signal: this.#abort.signal,
      shape: shapeIn(this.member, model.config.shape),
      ranges: this.member.ranges,
      embed: (tokens, into) => embedding.read(tokens, into),
    })
    this.#engine = engine
    this.#streamsReason = streamsReason
    const { roundTripMs, bytesPerSecond } = slowestOf(links)
    if (this.#channel)
      logger.info(
        {
          ring: this.ring.ringId,
          epoch: this.ring.epoch,
          roundTripMs,
          bytesPerSecond,
          carrier: engine.hasSockets ? 'sockets' : 'streams',
          tookMs: Math.round(performance.now() - started),
        },
        'links measured',
      )
    return links
  }

  /** In a ring of one there is nobody to check. */
  async #startChecks({ model, block }: LoadedShard): Promise<SpotChecks | undefined> {
    const { members, quant } = this.ring
    if (members.length === 1) return undefined
    const { config, folder: modelFolder } = model
    const { digests } = await model.identify()
    return new SpotChecks({
      rank: this.member.rank,
      ffn: members.map(({ ranges }) => ranges.ffn),
      quant,
      block,
      modelFolder,
      digests,
      config: { shape: config.shape, tiedEmbeddings: config.tiedEmbeddings },
      epsilon: config.normEpsilon,
      folder: this.#options.checksFolder,
      logger: this.#options.logger,
      onChange: () => this.#changed(),
    })
  }

  #startRank(loaded: LoadedShard, links: readonly RingLink[]): void {
    const [channel, ringEngine] = [this.#channel, this.#engine]
    if (!ringEngine) throw new Error('the engine comes first')
    const engine = watchEngine(nameEngine(ringEngine, this.member.rank, this.ring.members), this.#checks)
    const onLost = (error: Error): void => this.#fail(MeshError.from(error))
    if (this.member.rank === 0) {
      this.#leader = new Leader({
        engine,
        channel,
        members: this.ring.members,
        decoder: loaded.tokenizer,
        onLost,
        settings: () => this.#agree(ringEngine, links),
        onFailed: (error) => this.#distrust(ringEngine, links, error),
      })
      this.#agree(ringEngine, links)
      return
    }
    if (!channel) throw new Error('a follower needs links')
    this.#follower = startFollower({
      engine,
      channel,
      onLost,
      logger: this.#options.logger,
      leaderName: this.ring.members[0].name,
      stepTimeoutMs: channel.stepTimeoutMs,
      onSettings: (settings) => ringEngine.use(settings),
      onBusy: (busy) => {
        this.#busy = busy ? 1 : 0
        this.#changed()
      },
      onWork: (work, outcome) => {
        this.#options.onFollowed(outcome)
        this.#options.onWork(this, work)
      },
    })
  }

  /** Rank 0: how the next job sums, for this rank at once. */
  #agree(engine: RingEngine, links: readonly RingLink[]): CollectiveSettings {
    const { settings: wanted } = this.#options
    // who runs weights unrounded wants sums unrounded too
    const wire = wanted.wire === 'auto' && this.ring.quant === 'f32' ? 'f32' : wanted.wire
    const settings: CollectiveSettings = {
      ...wanted,
      wire,
      link: costOf(slowestOf(links)),
      carrier: engine.hasSockets ? 'sockets' : 'streams',
    }
    engine.use(settings)
    if (this.#channel) this.#network = networkOf(this.ring, settings, links, this.#streamsReason)
    return settings
  }

  /** Rank 0: a job failed. Its sockets may be gone, on any rank; the streams tell when they are. */
  #distrust(engine: RingEngine, links: readonly RingLink[], error: Error): void {
    if (!engine.hasSockets) return
    this.#options.logger.warn(
      { ring: this.ring.ringId, epoch: this.ring.epoch, code: MeshError.from(error).code },
      'after a failed job sums go over libp2p until the ring forms anew',
    )
    engine.dropSockets()
    // all of the pool read this: the words of a failure may quote a prompt, its kind and the name of a member do not
    const {
      code,
      fields: { peer },
    } = MeshError.from(error)
    this.#streamsReason = `a job failed (${code}${this.ring.members.some(({ name }) => name === peer) ? `: ${peer}` : ''})`
    this.#agree(engine, links)
    this.#changed()
  }

  /** Rank 0 of a ready epoch. @throws MeshError `epochStale` | the error that ended the epoch */
  get leader(): { readonly leader: Leader; readonly loaded: LoadedShard } {
    if (this.#error) throw this.#error
    if (!this.#leader || !this.#loaded || this.#state !== 'ready')
      throw new MeshError('epochStale', { got: this.ring.epoch, want: 'a ready one' })
    return { leader: this.#leader, loaded: this.#loaded }
  }

  get view(): SessionView {
    const loading = this.#state === 'loading' ? this.#loading : undefined
    const progress = this.#state === 'ready' ? 1 : this.#loading ? fractionOf(this.#loading) : 0
    return {
      ring: this.ring,
      member: this.member,
      state: this.#state,
      progress,
      loading,
      loaded: this.#loaded,
      error: this.#error,
      bytesSent: (this.#channel?.bytesSent ?? 0) + (this.#engine?.bytesSent ?? 0),
      network: this.#state === 'ready' ? this.#network : undefined,
      checks: this.#checks?.views ?? [],
    }
  }

  get running(): number {
    return this.#busy
  }

  /** True when the shard of another epoch would be the same. */
  holdsSameShard(ring: RingEpoch, member: RingMember): boolean {
    return shardKey(ring, member) === shardKey(this.ring, this.member)
  }

  /** Gives up links and running jobs. The shard belongs to the loader. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#follower?.close()
    this.#state = 'closed'
    this.#abort.abort(new MeshError('epochStale', { got: this.ring.epoch, want: 'a newer one' }))
    this.#engine?.dropSockets()
    await this.#checks?.close()
    await this.#channel?.close()
  }

  #fail(error: MeshError): void {
    if (this.#state === 'failed' || this.#state === 'closed') return
    this.#state = 'failed'
    this.#error = error
    this.#busy = 0
    this.#engine?.break(error)
    this.#options.logger.warn({ ring: this.ring.ringId, epoch: this.ring.epoch, code: error.code }, error.message)
    this.#changed()
  }

  #changed(): void {
    if (this.#state !== 'closed') this.#options.onChange(this)
  }
}
