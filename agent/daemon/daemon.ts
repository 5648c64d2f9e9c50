/** The agent: wires device, network, rings, jobs and control plane together. Nothing else does. */
import { freemem } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { AgentMessage, ControlMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import { Lifecycle } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { AgentState } from '../../shared/schema/agent-state.ts'
import { version } from '../../shared/version.ts'
import { createDeviceClient, publishPool, registerDevice } from '../device/control-plane.ts'
import { loadDevice, readCapabilities } from '../device/device.ts'
import { findPool, listPools } from '../device/pools.ts'
import { createGate } from '../network/gate.ts'
import { createNode } from '../network/node.ts'
import { createRingLinks } from '../network/ring-links.ts'
import { createControlLink } from './control-link.ts'
import { JobRunner } from './job-runner.ts'
import { Outbox } from './outbox.ts'
import { answerJoinRequest, renewOwnCertificate } from './pool-admin.ts'
import { RingRegistry } from './ring-registry.ts'
import { ShardLoader } from './shard-loader.ts'
import { createStateFile, refuseSecondAgent, ringStateOf } from './state-file.ts'
import { physicalCores } from './threads.ts'

export interface DaemonOptions {
  readonly home: Home
  /** Overrides the address given to `mesh init`. */
  readonly controlPlaneUrl?: string
  readonly listen: readonly string[]
  readonly relays: readonly string[]
  readonly announce: readonly string[]
  /** 0: physical cores. */
  readonly threads: number
  readonly stepTimeoutMs: number
  readonly logger: Logger
  /** Ends the agent. */
  readonly signal: AbortSignal
  onReady?(info: { readonly deviceId: string; readonly peerId: string; readonly addresses: readonly string[] }): void
}

/** How long ranks of a new epoch wait for each other to load and listen. */
const connectTimeoutMs = 120_000

const bundledModels = fileURLToPath(new URL('../../models', import.meta.url))

/**
 * Runs until the signal; then everything is closed in reverse order.
 * @throws MeshError `notInitialised` | `agentAlreadyRunning` | `stateUnreadable` | `portInUse`
 */
export const runDaemon = async (options: DaemonOptions): Promise<void> => {
  const { home, logger, signal } = options
  const device = loadDevice(home)
  refuseSecondAgent(home)
  const now = Date.now
  for (const pool of listPools(home)) renewOwnCertificate(home, pool, device.deviceId, now())
  const client = createDeviceClient({ home, device, url: options.controlPlaneUrl })
  const startedAt = now()
  const parts = new Lifecycle()
  let controlState = { url: client.url, connected: false, since: startedAt }

  try {
    const node = parts.add(await createNode({ key: device.key, listen: options.listen, announce: options.announce, relays: options.relays, logger }))
    const gate = createGate(node, {
      rootKeyOf: (poolId) => bytesOf(findPool(home, poolId)?.rootPublicKey),
      certificateOf: (poolId) => findPool(home, poolId)?.certificate,
    }, { now, logger })
    const links = createRingLinks({ node, gate, stepTimeoutMs: options.stepTimeoutMs, connectTimeoutMs, logger })
    const loader = new ShardLoader({ home, bundledModels, threads: options.threads || physicalCores() })
    parts.add({ name: 'shards', stop: () => loader.close() })

    const rings: RingRegistry = parts.add(new RingRegistry({ deviceId: device.deviceId, loader, links, logger, send: (message) => link.send(message), onChange: () => stateFile.touch() }))
    const outbox = new Outbox((message) => link.send(message))
    const jobs = new JobRunner({ outbox, logger, sessionOf: ({ ringId, epoch }) => rings.session(ringId, epoch), onChange: () => stateFile.touch() })

    const link = createControlLink({
      client,
      logger,
      prepare: async () => {
        await registerDevice(client, device, readCapabilities())
        for (const pool of listPools(home)) if (pool.rootKey) await publishPool(client, device, pool)
      },
      hello: (): AgentMessage => ({ type: 'hello', version, peerId: node.peerId, addresses: node.addresses(), certificates: listPools(home).map(({ certificate }) => certificate) }),
      heartbeat: (): AgentMessage => ({ type: 'heartbeat', freeMemoryBytes: freemem() }),
      onMessage: (message) => receive(message),
      onState: (connected) => {
        controlState = { url: client.url, connected, since: now() }
        stateFile.touch()
      },
    })

    const receive = (message: ControlMessage): void => {
      if (message.type === 'welcome') {
        logger.info({ url: client.url }, 'connected to the control plane')
        rings.report()
        outbox.resend()
      } else if (message.type === 'ring-epoch') rings.enter(message.ring)
      else if (message.type === 'ring-left') rings.leave(message.ringId)
      else if (message.type === 'job-assign') void jobs.run(message)
      else if (message.type === 'job-cancel') jobs.cancel(message.jobId)
      else if (message.type === 'job-settled') outbox.settled(message.jobId)
      else if (message.type === 'join-request') {
        answerJoinRequest({ home, client, logger, now }, message.request).catch((error: unknown) => logger.warn(MeshError.from(error).message))
      } else if (message.type === 'error') logger.warn({ code: message.error.code }, message.error.message)
    }

    const readState = (): AgentState => {
      const counts = jobs.counts
      return {
        pid: process.pid, startedAt, updatedAt: now(), version, deviceId: device.deviceId,
        peerId: node.peerId, addresses: node.addresses(), controlPlane: controlState, relays: node.relays(),
        rings: rings.views().map(ringStateOf),
        jobs: { ...counts, running: counts.running + rings.following },
      }
    }
    const stateFile = parts.add(createStateFile(home, readState, logger))
    node.onAddressChange(() => {
      link.refresh()
      stateFile.touch()
    })

    parts.add({ name: 'jobs', stop: () => jobs.cancelAll() })
    parts.add(link)
    stateFile.touch()
    link.start()
    options.onReady?.({ deviceId: device.deviceId, peerId: node.peerId, addresses: node.addresses() })
    await untilAborted(signal)
  } finally {
    for (const problem of await parts.stop()) logger.warn(problem)
  }
}

const bytesOf = (hex: string | undefined): Uint8Array | undefined => (hex === undefined ? undefined : new Uint8Array(Buffer.from(hex, 'hex')))

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
