/** The agent: three assemblies, the network of its pools, its control plane and its rings, and what connects them. */
import { fileURLToPath } from 'node:url'
import type { Home } from '../../shared/home.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import { Lifecycle, untilAborted } from '../../shared/lifecycle.ts'
import { keepInterfaces } from '../../shared/network-interfaces.ts'
import type { AgentState } from '../../shared/schema/agent-state.ts'
import { version } from '../../shared/version.ts'
import { loadDevice, type LocalDevice } from '../device/device.ts'
import { PeerCache } from '../device/known-peers.ts'
import { listPools } from '../device/pools.ts'
import { processMark } from '../../shared/process-alive.ts'
import { Revocations } from '../device/revocations.ts'
import { unreadableIntents } from '../device/rings.ts'
import type { MeshNode } from '../network/node.ts'
import { ControlSession } from './control-session.ts'
import { createNodeAtKnownPort } from './listen-port.ts'
import { credentialsOf, renewByRootKey } from './membership.ts'
import { createHandlers, handle } from './message-handlers.ts'
import { PoolNetwork } from './pool-network.ts'
import { RingWork, type RingWorkOptions } from './ring-work.ts'
import { Sealing } from './sealing.ts'
import { createStateFile, lockHome, type StateFile } from './state-file.ts'

export interface DaemonOptions extends Pick<
  RingWorkOptions,
  'backend' | 'threads' | 'spinMs' | 'stepTimeoutMs' | 'collective' | 'carrier' | 'maxShardBytes' | 'logger'
> {
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
  /** Ends the agent. */
  readonly signal: AbortSignal
  onReady?(info: { readonly deviceId: string; readonly peerId: string; readonly addresses: readonly string[] }): void
}

const now = Date.now

const bundledModels = fileURLToPath(new URL('../../models', import.meta.url))

interface AgentParts {
  readonly device: LocalDevice
  readonly node: MeshNode
  readonly cache: PeerCache
  readonly revocations: Revocations
  readonly sealing: Sealing
}

/** What was started is in the lifecycle that it is given. */
class Agent {
  readonly #options: DaemonOptions
  readonly #parts: AgentParts
  readonly #startedAt = now()
  readonly #stateFile: StateFile
  readonly #network: PoolNetwork
  readonly #work: RingWork
  readonly #control: ControlSession

  constructor(options: DaemonOptions, parts: AgentParts, started: Lifecycle) {
    const { home, logger, discovery } = options
    const { sealing, ...shared } = parts
    this.#options = options
    this.#parts = parts
    this.#stateFile = createStateFile(home, () => this.#state(), logger)
    // each asks the others when it needs them
    const common = { home, logger, now, ...shared, onChange: () => this.#stateFile.touch() }
    this.#network = new PoolNetwork({ ...common, discovery, plane: () => this.#control }, started)
    this.#work = new RingWork(
      {
        ...options,
        ...common,
        sealing,
        bundledModels,
        gate: this.#network.gate,
        client: () => this.#control.client,
        send: (message) => this.#control.send(message),
      },
      started,
    )
    started.add(this.#stateFile)
    this.#control = started.add(this.#createControl(common.onChange))
  }

  start(): void {
    this.#network.start()
    this.#control.start()
    this.#stateFile.write()
  }

  #createControl(onChange: () => void): ControlSession {
    const { home, logger, controlPlaneUrl: url, controlPlaneKey: key } = this.#options
    const { device, node, cache } = this.#parts
    const [network, work] = [this.#network, this.#work]
    const control: ControlSession = new ControlSession({
      home,
      device,
      url,
      key,
      pins: network.knownPins,
      cache,
      now,
      logger,
      ask: () => network.askMembers(),
      presence: () => ({
        peerId: node.peerId,
        addresses: node.addresses(),
        freeMemoryBytes: work.locks.availableBytes,
        lockMissingBytes: work.locks.missingBytes,
      }),
      onMessage: (message) => void handle(handlers, message, logger),
      onConnection: (connected) => work.locks.connected(connected),
      onChange,
    })
    const handlers = createHandlers({ node, network, control, work, logger })
    return control
  }

  #state(): AgentState {
    const { device, node } = this.#parts
    return {
      pid: process.pid,
      mark: processMark(process.pid),
      startedAt: this.#startedAt,
      updatedAt: now(),
      version,
      deviceId: device.deviceId,
      peerId: node.peerId,
      addresses: node.addresses(),
      controlPlane: this.#control.state,
      relays: node.relays(),
      otherVersions: this.#network.otherVersions.list,
      ...this.#work.state,
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
    for (const entry of unreadableIntents(home))
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
    const sealing = await Sealing.start(device.key)
    new Agent(options, { device, node, cache, revocations, sealing }, parts).start()
    options.onReady?.({ deviceId: device.deviceId, peerId: node.peerId, addresses: node.addresses() })
    await untilAborted(signal)
  } finally {
    for (const problem of await parts.stop()) logger.warn(problem)
  }
}
