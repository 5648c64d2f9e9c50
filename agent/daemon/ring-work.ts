/**
 * What this device does for rings: memory that it locked, shards, epochs, jobs, and the reports by which it is paid.
 * One of the three assemblies of an agent (`daemon.ts`).
 */
import type { Client } from '../../shared/api/client.ts'
import type { AgentMessage } from '../../shared/api/messages.ts'
import type { Home } from '../../shared/home.ts'
import type { Lifecycle } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { AgentState } from '../../shared/schema/agent-state.ts'
import type { CollectiveSettings } from '../collective/chooser.ts'
import type { BackendChoice } from '../compute/choose-backend.ts'
import type { LocalDevice } from '../device/device.ts'
import { MessageStore } from '../device/message-store.ts'
import type { Gate } from '../network/gate.ts'
import type { MeshNode } from '../network/node.ts'
import { RingStreams } from '../network/ring-streams.ts'
import type { CarrierChoice } from '../rank/open-carrier.ts'
import { JobRunner } from './job-runner.ts'
import { LockKeeper } from './lock-keeper.ts'
import { Outbox } from './outbox.ts'
import { RingRegistry, type RingRegistryOptions } from './ring-registry.ts'
import { onMoreRoom } from './room-watch.ts'
import type { Sealing } from './sealing.ts'
import { ShardLoader } from './shard-loader.ts'
import { ringStateOf, trialStateOf } from './state-file.ts'
import { ThreadGovernor } from './thread-governor.ts'
import { WorkReports } from './work-reports.ts'

export interface RingWorkOptions {
  readonly home: Home
  readonly device: LocalDevice
  readonly node: MeshNode
  readonly gate: Gate
  readonly sealing: Sealing
  /** Folder of the models that come with Mesh. */
  readonly bundledModels: string
  readonly backend: BackendChoice
  /** 0: as many as there are free cores. */
  readonly threads: number
  readonly spinMs: number
  readonly stepTimeoutMs: number
  /** How the ranks sum when this device leads. */
  readonly collective: CollectiveSettings
  readonly carrier: CarrierChoice
  /** Bytes of disk that shards may take together; default: a tenth of the disk. */
  readonly maxShardBytes?: number
  readonly now: () => number
  readonly logger: Logger
  /** The control plane that the agent talks to now. */
  client(): Client
  send(message: AgentMessage): void
  /** Something that `mesh status` shows is another than before. */
  onChange(): void
}

/**
 * How long ranks of a new epoch wait for each other: loading takes as long as it takes. Who does not get on is left out
 * by the control plane, which ends the epoch.
 */
const connectTimeoutMs = 86_400_000

export class RingWork {
  readonly locks: LockKeeper
  readonly rings: RingRegistry
  readonly jobs: JobRunner
  readonly outbox: Outbox
  readonly reports: WorkReports
  readonly #options: RingWorkOptions

  constructor(options: RingWorkOptions, parts: Lifecycle) {
    const { home, device, logger, sealing, client, send, onChange } = options
    this.#options = options
    this.locks = parts.add(new LockKeeper({ home, device, client, logger, onChange }))
    const loader = this.#createLoader()
    parts.add({ name: 'shards', stop: () => loader.close() })
    loader.tidy()
    const store = new MessageStore(home.outbox.reports, logger)
    this.reports = parts.add(new WorkReports({ key: device.key, store, send }))
    const onWork: RingRegistryOptions['onWork'] = ({ ring, member }, work) => this.reports.post(ring, member, work)
    this.rings = parts.add(this.#createRegistry(loader, onWork))
    this.outbox = parts.add(new Outbox(new MessageStore(home.outbox.answers, logger), send))
    this.jobs = new JobRunner({
      outbox: this.outbox,
      logger,
      sealing,
      send,
      sessionOf: ({ ringId, epoch }) => this.rings.session(ringId, epoch),
      onWork,
      onChange,
    })
    parts.add({ name: 'jobs', stop: () => this.jobs.cancelAll() })
  }

  /** The control plane is there, again or another one: it hears where everything stands. */
  connected(): void {
    this.rings.report()
    this.outbox.resend()
    this.reports.resend()
  }

  /** For `mesh status`. */
  get state(): Pick<AgentState, 'rings' | 'leftOut' | 'memory' | 'jobs'> {
    const [led, followed] = [this.jobs.counts, this.rings.followed]
    return {
      rings: [...this.rings.views().map(ringStateOf), ...this.rings.trials.map(trialStateOf)],
      leftOut: this.rings.allLeftOut,
      memory: this.locks.view,
      jobs: {
        running: led.running + followed.running,
        done: led.done + followed.done,
        failed: led.failed + followed.failed,
      },
    }
  }

  #createLoader(): ShardLoader {
    const { home, bundledModels, backend, threads, spinMs, maxShardBytes, logger } = this.#options
    return new ShardLoader({
      home,
      bundledModels,
      backend,
      admit: (ring, member) => this.locks.admit(ring, member, this.rings.views()),
      governor: new ThreadGovernor({ threads, logger }),
      spinMs,
      maxBytes: maxShardBytes,
      logger,
    })
  }

  #createRegistry(loader: ShardLoader, onWork: RingRegistryOptions['onWork']): RingRegistry {
    const { home, device, node, gate, stepTimeoutMs, collective, carrier, sealing, ...rest } = this.#options
    const { logger, now, send, onChange } = rest
    return new RingRegistry({
      deviceId: device.deviceId,
      loader,
      checksFolder: home.checks,
      streams: new RingStreams({ node, gate, stepTimeoutMs, connectTimeoutMs, logger }),
      settings: collective,
      carrier,
      sealingKeyOf: (ring) => sealing.keyOf(ring),
      logger,
      now,
      send,
      onWork,
      onChange,
      onMoreRoom: (then) => onMoreRoom(home.root, then),
    })
  }
}
