/**
 * What runs on this device once the streams of an epoch are up: sockets, engine and spot checks, and the end of the
 * token loop that belongs to its rank.
 */
import { openResidual } from '../engine/residual.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { RingEpoch, RingMember, RingNetwork } from '../../shared/schema/ring.ts'
import type { RankView } from '../checks/checked-rank.ts'
import { SpotChecks } from '../checks/spot-checks.ts'
import { uncheckable } from '../checks/checkable.ts'
import { watchEngine } from '../checks/watched-engine.ts'
import { type CollectiveSettings, slowestOf } from '../collective/chooser.ts'
import type { Engine } from '../engine/engine.ts'
import { type Follower, type JobOutcome, startFollower } from '../generation/follower.ts'
import { Leader } from '../generation/leader.ts'
import type { RankWork } from '../generation/protocol.ts'
import type { RingChannel } from '../network/ring-channel.ts'
import type { CarrierChoice } from '../rank/open-carrier.ts'
import { type StartedRank, startRank } from '../rank/start-rank.ts'
import { nameEngine } from './named-engine.ts'
import { networkOf } from './ring-network.ts'
import { type LoadedShard, shapeIn } from './shard-loader.ts'

export interface EpochRankOptions {
  readonly ring: RingEpoch
  readonly member: RingMember
  readonly loaded: LoadedShard
  /** Absent in a ring of one. */
  readonly channel: RingChannel | undefined
  /** Where half layers lie that spot checks compute with. */
  readonly checksFolder: string
  /** What this device wants when it leads. */
  readonly settings: CollectiveSettings
  readonly carrier: CarrierChoice
  readonly logger: Logger
  /** Gives up while it starts. */
  readonly signal: AbortSignal
  /** The epoch is over. */
  onLost(error: Error): void
  /** Spot checks have something to say. */
  onChecked(): void
  /** Rank 0: how the next job sums. */
  onAgreed(network: RingNetwork | undefined): void
  /** Rank 0: a job failed, here or on another rank. */
  onJobFailed(error: Error): void
  /** A job of another rank began here, or ended. */
  onBusy(isBusy: boolean): void
  onFollowed(work: RankWork, outcome: JobOutcome): void
}

/** In a ring of one there is nobody to check. */
const startChecks = async ({
  ring: { members, quant },
  member,
  loaded: { model, block },
  checksFolder,
  logger,
  onChecked,
}: EpochRankOptions): Promise<SpotChecks | undefined> => {
  if (members.length === 1) return undefined
  const { config, folder: modelFolder } = model
  const reason = uncheckable(config.spec, quant)
  if (reason !== undefined) {
    logger.info({ reason }, 'sums of this model are not spot-checked')
    return undefined
  }
  const { digests } = await model.identify()
  return new SpotChecks({
    rank: member.rank,
    ffn: members.map(({ ranges }) => ranges.ffn),
    quant,
    block,
    modelFolder,
    digests,
    spec: config.spec,
    folder: checksFolder,
    logger,
    onChange: onChecked,
  })
}

/** Links are measured, and sockets opened, anew for every epoch, because devices move. */
const startMeasured = async (options: EpochRankOptions): Promise<StartedRank> => {
  const started = performance.now()
  const { ring, member, loaded, channel, carrier, settings, logger, signal } = options
  const { backend, embedding, model, shard } = loaded
  const rank = await startRank({
    ring,
    backend,
    channel,
    carrier,
    settings,
    logger,
    signal,
    shape: shapeIn(member, model.config.shape),
    ranges: member.ranges,
    residual: openResidual(model.config.spec, shard),
    embed: (tokens, into) => embedding.read(tokens, into),
  })
  const { roundTripMs, bytesPerSecond } = slowestOf(rank.links)
  if (channel)
    logger.info(
      {
        ring: ring.ringId,
        epoch: ring.epoch,
        roundTripMs,
        bytesPerSecond,
        carrier: rank.engine.hasSockets ? 'sockets' : 'streams',
        tookMs: Math.round(performance.now() - started),
      },
      'links measured',
    )
  return rank
}

export class EpochRank {
  readonly #options: EpochRankOptions
  readonly #rank: StartedRank
  readonly #checks: SpotChecks | undefined
  /** Of rank 0; the other ranks have a follower. */
  readonly leader: Leader | undefined
  readonly #follower: Follower | undefined
  #network: RingNetwork | undefined

  private constructor(options: EpochRankOptions, rank: StartedRank, checks: SpotChecks | undefined) {
    this.#options = options
    this.#rank = rank
    this.#checks = checks
    const { ring, member } = options
    const engine = watchEngine(nameEngine(rank.engine, member.rank, ring.members), checks)
    if (member.rank === 0) {
      this.leader = this.#lead(engine)
      this.#agree()
    } else this.#follower = this.#follow(engine)
  }

  /** What was opened before something failed is closed again. @throws MeshError | the reason of the signal */
  static async start(options: EpochRankOptions): Promise<EpochRank> {
    await using opened = new AsyncDisposableStack()
    await options.loaded.backend.release('all') // sequences of an older epoch
    const started = await startMeasured(options)
    opened.defer(() => started.engine.dropSockets())
    options.signal.throwIfAborted()
    const checks = await startChecks(options)
    if (checks) opened.defer(() => checks.close())
    options.signal.throwIfAborted()
    const rank = new EpochRank(options, started, checks)
    opened.move()
    return rank
  }

  /** On rank 0 of several. */
  get network(): RingNetwork | undefined {
    return this.#network
  }

  /** What the sums of the other ranks turned out to be. */
  get checks(): readonly RankView[] {
    return this.#checks?.views ?? []
  }

  /** Fails the step that runs. */
  break(error: MeshError): void {
    this.#rank.engine.break(error)
  }

  /** Rank 0: sums go over the streams of libp2p until the ring forms anew. */
  leaveSockets({ code, fields: { peer } }: MeshError): void {
    const { ring, logger, onAgreed } = this.#options
    logger.warn(
      { ring: ring.ringId, epoch: ring.epoch, code },
      'after a failed job sums go over libp2p until the ring forms anew',
    )
    // all of the pool read this: the words of a failure may quote a prompt, its kind and the name of a member do not
    const who = ring.members.some(({ name }) => name === peer) ? `: ${peer}` : ''
    this.#rank.leaveSockets(`a job failed (${code}${who})`)
    this.#agree()
    onAgreed(this.#network)
  }

  /** Ends jobs, sockets and checks; the streams are those of the session. */
  async close(): Promise<void> {
    this.#follower?.close()
    this.#rank.engine.dropSockets()
    await this.#checks?.close()
  }

  #lead(engine: Engine): Leader {
    const { channel, ring, loaded, onLost, onAgreed, onJobFailed } = this.#options
    return new Leader({
      engine,
      channel,
      members: ring.members,
      decoder: loaded.tokenizer,
      onLost,
      onFailed: onJobFailed,
      settings: () => {
        const settings = this.#agree()
        onAgreed(this.#network)
        return settings
      },
    })
  }

  #follow(engine: Engine): Follower {
    const { channel, ring, logger, onLost, onBusy, onFollowed } = this.#options
    if (!channel) throw new Error('a follower needs links')
    return startFollower({
      engine,
      channel,
      onLost,
      logger,
      leaderName: ring.members[0].name,
      stepTimeoutMs: channel.stepTimeoutMs,
      onSettings: (settings) => this.#rank.engine.use(settings),
      onBusy,
      onWork: onFollowed,
    })
  }

  /** Rank 0: how the next job sums, for this rank at once. */
  #agree(): CollectiveSettings {
    const { ring, channel } = this.#options
    const settings = this.#rank.agree()
    if (channel) this.#network = networkOf(ring, settings, this.#rank.links, this.#rank.streamsReason)
    return settings
  }
}
