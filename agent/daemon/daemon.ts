/** The agent: wires device, network, rings, jobs and control plane together. Nothing else does. */
import { fileURLToPath } from 'node:url'
import type { Client } from '../../shared/api/client.ts'
import type { AgentMessage, ControlMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import { Lifecycle, untilAborted } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { keepInterfaces } from '../../shared/network-interfaces.ts'
import type { AgentState } from '../../shared/schema/agent-state.ts'
import { version } from '../../shared/version.ts'
import { publishPool, registerDevice } from '../device/control-plane.ts'
import { loadDevice, type LocalDevice, readCapabilities } from '../device/device.ts'
import { PeerCache } from '../device/known-peers.ts'
import { MessageStore } from '../device/message-store.ts'
import { listPools } from '../device/pools.ts'
import { processMark } from '../../shared/process-alive.ts'
import { Pins } from '../device/pins.ts'
import { Revocations } from '../device/revocations.ts'
import { unreadableWishes } from '../device/rings.ts'
import type { CarrierChoice } from '../rank/assemble-rank.ts'
import type { CollectiveSettings } from '../collective/chooser.ts'
import type { BackendChoice } from '../compute/choose-backend.ts'
import { type Connection, Gate } from '../network/gate.ts'
import type { MeshNode } from '../network/node.ts'
import { RenewalExchange } from '../network/renewal-exchange.ts'
import { RevocationSpread } from '../network/revocation-spread.ts'
import { RingLinks } from '../network/ring-links.ts'
import { ControlLink } from './control-link.ts'
import { CurrentPlane } from './current-plane.ts'
import { relayAt } from './control-plane-url.ts'
import { JobRunner } from './job-runner.ts'
import { createNodeAtKnownPort } from './listen-port.ts'
import { credentialsOf, Membership, poolDirectory, renewByRootKey } from './membership.ts'
import { Neighbours } from './neighbours.ts'
import { LockKeeper } from './lock-keeper.ts'
import { OtherVersions } from './other-versions.ts'
import { Outbox } from './outbox.ts'
import { answerJoinRequest, type PoolAdminOptions, renewMember, signRenewal } from './pool-admin.ts'
import { PoolPins } from './pool-pins.ts'
import { PoolWatch } from './pool-watch.ts'
import { onMoreRoom } from './room-watch.ts'
import { RingRegistry, type RingRegistryOptions } from './ring-registry.ts'
import { Sealing } from './sealing.ts'
import { ShardLoader } from './shard-loader.ts'
import { createStateFile, lockHome, ringStateOf, type StateFile, trialStateOf } from './state-file.ts'
import { ThreadGovernor } from './thread-governor.ts'
import { WorkReports } from './work-reports.ts'

export interface DaemonOptions {
  readonly home: Home
  /** Overrides the address given to `mesh init`. */
  readonly controlPlaneUrl?: string
  /** Overrides the key that the device knows its control plane by. */
  readonly controlPlaneKey?: ControlPlaneId
  readonly listen: readonly string[]
  readonly relays: readonly string[]
  readonly announce: readonly string[]
  /** How devices of a pool are found besides the control plane. */
  readonly discovery: 'lan' | 'none'
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
  readonly logger: Logger
  /** Ends the agent. */
  readonly signal: AbortSignal
  onReady?(info: { readonly deviceId: string; readonly peerId: string; readonly addresses: readonly string[] }): void
}

/**
 * How long ranks of a new epoch wait for each other: loading takes as long as it takes. Who does not get on is left out
 * by the control plane, which ends the epoch.
 */
const connectTimeoutMs = 86_400_000

const now = Date.now

const bundledModels = fileURLToPath(new URL('../../models', import.meta.url))

interface AgentParts {
  readonly device: LocalDevice
  readonly node: MeshNode
  readonly cache: PeerCache
  readonly revocations: Revocations
  readonly sealing: Sealing
}

/** The parts of a running agent. */
class Agent {
  readonly #options: DaemonOptions
  readonly #device: LocalDevice
  readonly #plane: CurrentPlane
  readonly #neighbours: Neighbours
  readonly #node: MeshNode
  readonly #rings: RingRegistry
  readonly #membership: Membership
  readonly #pins: PoolPins
  readonly #revocations: Revocations
  readonly #jobs: JobRunner
  readonly #outbox: Outbox
  readonly #reports: WorkReports
  readonly #locks: LockKeeper
  readonly #link: ControlLink
  readonly #stateFile: StateFile
  readonly #startedAt = now()
  readonly #otherVersions = new OtherVersions(now)
  readonly #answering = new Map<string, Promise<boolean>>()
  #controlState: AgentState['controlPlane']

  constructor(options: DaemonOptions, { device, node, cache, revocations, sealing }: AgentParts, parts: Lifecycle) {
    const { home, logger } = options
    this.#options = options
    this.#device = device
    this.#node = node
    const pins = new Pins(home, revocations, now)
    this.#plane = new CurrentPlane({
      home,
      device,
      url: options.controlPlaneUrl,
      key: options.controlPlaneKey,
      pins,
      cache,
      now,
      logger,
      ask: () => this.#neighbours.askMembers(),
    })
    this.#controlState = { url: this.#client.url, connected: false, since: this.#startedAt }
    this.#revocations = revocations
    const gate = new Gate(node, poolDirectory(home, revocations), {
      now,
      logger,
      isRelay: (peer) => node.relays().some(({ address }) => address.includes(peer)),
      onAdmit: (connection, poolId) => this.#admitted(connection, poolId),
      onOtherVersion: ({ remotePeer }, error) =>
        this.#otherVersions.met(remotePeer.toString(), error) && this.#stateFile.touch(),
      onCertificate: (connection, poolId, number) => {
        if (number < (revocations.listOf(poolId)?.number ?? 0)) spread.offer(connection, poolId)
        this.#membership.met(connection, poolId)
      },
    })
    parts.add({ name: 'gate', stop: () => gate.stop() })
    const spread = new RevocationSpread({
      node,
      gate,
      logger,
      textOf: (poolId) => revocations.listOf(poolId)?.text,
      onList: (poolId, text) => this.#membership.receiveList(poolId, text),
    })
    const renewals = new RenewalExchange({
      node,
      gate,
      logger,
      now,
      renew: (request, asker) => signRenewal(this.#admin, request, asker),
    })
    const links = new RingLinks({ node, gate, stepTimeoutMs: options.stepTimeoutMs, connectTimeoutMs, logger })
    this.#locks = parts.add(
      new LockKeeper({ home, device, client: () => this.#client, logger, onChange: () => this.#stateFile?.touch() }),
    )
    const loader = new ShardLoader({
      home,
      bundledModels,
      admit: (ring, member) => this.#locks.admit(ring, member, this.#rings.views()),
      backend: options.backend,
      governor: new ThreadGovernor({ threads: options.threads, logger }),
      spinMs: options.spinMs,
      maxBytes: options.maxShardBytes,
      logger,
    })
    loader.tidy()
    parts.add({ name: 'shards', stop: () => loader.close() })
    const watch = parts.add(new PoolWatch({ home, logger }))
    const send = (message: AgentMessage): void => this.#link.send(message)
    const onChange = (): void => this.#stateFile.touch()
    this.#membership = new Membership({
      home,
      watch,
      deviceId: device.deviceId,
      revocations,
      gate,
      spread,
      renewals,
      now,
      logger,
      send,
      onRenewed: () => this.#link.refresh(),
    })
    this.#pins = new PoolPins({
      home,
      watch,
      key: device.key,
      pins,
      revocations,
      now,
      logger,
      client: () => this.#connected,
      controlPlaneId: () => this.#plane.key,
      tellMembers: (poolId) => this.#neighbours.tellPin(poolId),
      onChange: () => this.#checkPlane(),
    })
    this.#reports = new WorkReports({ key: device.key, store: new MessageStore(home.outbox.reports, logger), send })
    const onWork: RingRegistryOptions['onWork'] = ({ ring, member }, work) => this.#reports.post(ring, member, work)
    this.#rings = parts.add(
      new RingRegistry({
        deviceId: device.deviceId,
        loader,
        checksFolder: home.checks,
        links,
        settings: options.collective,
        carrier: options.carrier,
        sealingKeyOf: (ring) => sealing.keyOf(ring),
        logger,
        now,
        send,
        onWork,
        onChange,
        onMoreRoom: (then) => onMoreRoom(home.root, then),
      }),
    )
    this.#outbox = parts.add(new Outbox(new MessageStore(home.outbox.answers, logger), send))
    this.#jobs = new JobRunner({
      outbox: this.#outbox,
      logger,
      sealing,
      send,
      sessionOf: ({ ringId, epoch }) => this.#rings.session(ringId, epoch),
      onWork,
      onChange,
    })
    this.#stateFile = parts.add(createStateFile(home, () => this.#state(), logger))
    parts.add({ name: 'jobs', stop: () => this.#jobs.cancelAll() })
    this.#link = parts.add(this.#createLink())
    this.#neighbours = parts.add(
      new Neighbours({
        watch,
        node,
        gate,
        cache,
        logger,
        now,
        discovery: options.discovery,
        controlPlane: () => this.#connected,
        pins: {
          pinOf: (poolId) => pins.pinOf(poolId)?.text,
          onPin: (poolId, text) => this.#pins.receive(poolId, text),
        },
        onNews: () => this.#link.check(),
        onMoved: () => this.#plane.moved(),
      }),
    )
  }

  /** The admins of a pool named another control plane: the agent turns to it, or leaves that pool out. */
  #checkPlane(): void {
    if (this.#plane.isRight()) this.#link.refresh()
    else this.#link.reconnect()
    this.#stateFile.touch()
  }

  get #client(): Client {
    return this.#plane.client
  }

  /** The control plane, while the agent is connected to it. */
  get #connected(): Client | undefined {
    return this.#controlState.connected ? this.#client : undefined
  }

  start(): void {
    this.#node.onAddressChange(() => {
      this.#link.refresh()
      this.#stateFile.touch()
    })
    this.#node.onRelayProblem(() => this.#stateFile.touch())
    this.#stateFile.touch()
    this.#neighbours.start()
    this.#link.start()
  }

  #admitted(connection: Connection, poolId: string): void {
    this.#otherVersions.agrees(connection.remotePeer.toString())
    this.#neighbours.admitted(connection, poolId)
  }

  #createLink(): ControlLink {
    const { logger } = this.#options
    return new ControlLink({
      client: () => this.#client,
      logger,
      prepare: async () => {
        await this.#plane.find()
        await registerDevice(this.#client, this.#device, readCapabilities())
        for (const pool of this.#plane.servedPools())
          if (pool.rootKey) await publishPool(this.#client, this.#device, pool)
      },
      hello: () => ({
        type: 'hello',
        version,
        peerId: this.#node.peerId,
        addresses: this.#node.addresses(),
        trials: true,
        certificates: this.#plane.servedPools().map(({ certificate }) => certificate),
        lockMissingBytes: this.#locks.missingBytes,
      }),
      heartbeat: () => ({
        type: 'heartbeat',
        freeMemoryBytes: this.#locks.availableBytes,
        lockMissingBytes: this.#locks.missingBytes,
      }),
      onMessage: (message) => this.#receive(message),
      onState: (connected, problem) => {
        this.#controlState = { url: this.#client.url, connected, since: now(), ...(problem === '' ? {} : { problem }) }
        this.#locks.connected(connected)
        this.#stateFile.touch()
      },
    })
  }

  #receive(message: ControlMessage): void {
    const { logger } = this.#options
    if (isOfMembership(message)) void this.#receiveMembership(message)
    else if (message.type === 'welcome') {
      logger.info({ url: this.#client.url }, 'connected to the control plane')
      this.#node.learnRelays((message.relays ?? []).flatMap((relay) => relayAt(relay, this.#client.url) ?? []))
      this.#plane.connected()
      void this.#neighbours.askControlPlane()
      this.#rings.report()
      this.#outbox.resend()
      this.#reports.resend()
      this.#membership.connected()
      void this.#pins.connected()
    } else if (message.type === 'ring-epoch') this.#rings.enter(message.ring)
    else if (message.type === 'ring-trial') this.#rings.try(message.ring)
    else if (message.type === 'ring-left-out') this.#rings.leftOut(message)
    else if (message.type === 'ring-left') this.#rings.leave(message.ringId)
    else if (message.type === 'job-assign') void this.#jobs.run(message)
    else if (message.type === 'job-cancel') this.#jobs.cancel(message.jobId)
    else if (message.type === 'job-settled') this.#outbox.settled(message.jobId)
    else if (message.type === 'report-kept') this.#reports.kept(message.jobId)
    else if (message.type === 'error') logger.warn({ code: message.error.code }, message.error.message)
  }

  get #admin(): PoolAdminOptions {
    return {
      home: this.#options.home,
      key: this.#device.key,
      client: this.#client,
      revocations: this.#revocations,
      logger: this.#options.logger,
      now,
      answering: this.#answering,
    }
  }

  /** Never throws: what the control plane passes on comes from others, and costs no more than a warning. */
  async #receiveMembership(message: MembershipMessage): Promise<void> {
    try {
      if (message.type === 'join-request') await answerJoinRequest(this.#admin, message.request)
      else if (message.type === 'renewal-request') await renewMember(this.#admin, message)
      else if (message.type === 'certificate') this.#membership.receiveCertificate(message.poolId, message.certificate)
      else if (message.type === 'revocations') this.#membership.receiveList(message.poolId, message.list)
      else this.#pins.receiveFromControlPlane(message.poolId, message.pin)
    } catch (error) {
      this.#options.logger.warn({ type: message.type }, MeshError.from(error).message)
    }
  }

  #state(): AgentState {
    const [led, followed] = [this.#jobs.counts, this.#rings.followed]
    return {
      pid: process.pid,
      mark: processMark(process.pid),
      startedAt: this.#startedAt,
      updatedAt: now(),
      version,
      deviceId: this.#device.deviceId,
      peerId: this.#node.peerId,
      addresses: this.#node.addresses(),
      controlPlane: this.#controlState,
      relays: this.#node.relays(),
      otherVersions: this.#otherVersions.list,
      rings: [...this.#rings.views().map(ringStateOf), ...this.#rings.trials.map(trialStateOf)],
      leftOut: this.#rings.allLeftOut,
      memory: this.#locks.view,
      jobs: {
        running: led.running + followed.running,
        done: led.done + followed.done,
        failed: led.failed + followed.failed,
      },
    }
  }
}

/**
 * Runs until the signal; then everything is closed in reverse order.
 * @throws MeshError `notInitialised` | `agentAlreadyRunning` | `stateUnreadable` | `stateUnwritable` | `portInUse`
 */
export const runDaemon = async (options: DaemonOptions): Promise<void> => {
  const { home, logger, signal } = options
  const device = loadDevice(home)
  keepInterfaces(logger)
  const lock = await lockHome(home)
  const parts = new Lifecycle()
  parts.add({ name: 'lock of the home', stop: () => lock.release() })
  try {
    for (const entry of unreadableWishes(home))
      logger.warn({ file: home.rings }, `an entry of rings.json cannot be read and is left as it is: ${entry}`)
    for (const pool of listPools(home)) renewByRootKey(home, pool, device.deviceId, now())
    const cache = new PeerCache(home)
    const revocations = new Revocations(home, now)
    const node = parts.add(
      await createNodeAtKnownPort(
        {
          key: device.key,
          listen: options.listen,
          announce: options.announce,
          relays: options.relays,
          credentials: () => credentialsOf(home, revocations),
          logger,
        },
        cache,
      ),
    )
    const agent = new Agent(
      options,
      { device, node, cache, revocations, sealing: await Sealing.start(device.key) },
      parts,
    )
    agent.start()
    options.onReady?.({ deviceId: device.deviceId, peerId: node.peerId, addresses: node.addresses() })
    await untilAborted(signal)
  } finally {
    for (const problem of await parts.stop()) logger.warn(problem)
  }
}

const membershipTypes = ['join-request', 'renewal-request', 'certificate', 'revocations', 'control-plane-pin'] as const
type MembershipMessage = Extract<ControlMessage, { type: (typeof membershipTypes)[number] }>
const isOfMembership = (message: ControlMessage): message is MembershipMessage =>
  (membershipTypes as readonly string[]).includes(message.type)
