/**
 * The agent at its control plane: which one that is, the connection to it, and what it is told of this device. One of
 * the three assemblies of an agent (`daemon.ts`).
 */
import type { Client } from '../../shared/api/client.ts'
import type { AgentMessage, ControlMessage } from '../../shared/api/messages.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import type { AgentState } from '../../shared/schema/agent-state.ts'
import { version } from '../../shared/version.ts'
import { publishPool, registerDevice } from '../device/control-plane.ts'
import { findDevice, readCapabilities } from '../device/device.ts'
import { ControlLink } from './control-link.ts'
import { CurrentPlane, type CurrentPlaneOptions } from './current-plane.ts'
import type { PlaneAccess } from './pool-network.ts'

/** What of this device the control plane hears. */
export interface Presence {
  readonly peerId: string
  readonly addresses: readonly string[]
  readonly freeMemoryBytes: number
  /** Of the locked memory, what is not there. */
  readonly lockMissingBytes: number
}

export interface ControlSessionOptions extends CurrentPlaneOptions {
  presence(): Presence
  onMessage(message: ControlMessage): void
  /** The connection is there, or gone. */
  onConnection(connected: boolean): void
  /** Something that `mesh status` shows is another than before. */
  onChange(): void
}

export class ControlSession implements PlaneAccess {
  readonly name = 'control plane'
  readonly #options: ControlSessionOptions
  readonly #plane: CurrentPlane
  readonly #link: ControlLink
  #connection: Omit<AgentState['controlPlane'], 'url'>

  constructor(options: ControlSessionOptions) {
    this.#options = options
    this.#plane = new CurrentPlane(options)
    this.#connection = { connected: false, since: options.now() }
    this.#link = this.#createLink()
  }

  get client(): Client {
    return this.#plane.client
  }

  get connected(): Client | undefined {
    return this.#connection.connected ? this.client : undefined
  }

  get key(): ControlPlaneId | undefined {
    return this.#plane.key
  }

  /** For `mesh status`. */
  get state(): AgentState['controlPlane'] {
    return { url: this.client.url, ...this.#connection }
  }

  start(): void {
    this.#link.start()
  }

  stop(): Promise<void> {
    return this.#link.stop()
  }

  send(message: AgentMessage): void {
    this.#link.send(message)
  }

  refresh(): void {
    this.#link.refresh()
  }

  check(): void {
    this.#link.check()
  }

  recheck(): void {
    if (this.#plane.isRight()) this.#link.refresh()
    else this.#link.reconnect()
    this.#options.onChange()
  }

  moved(): void {
    this.#plane.moved()
  }

  /** It said welcome: it is remembered. @throws MeshError `stateUnwritable` */
  welcomed(): void {
    this.#plane.connected()
  }

  #createLink(): ControlLink {
    const { logger, onMessage } = this.#options
    return new ControlLink({
      client: () => this.client,
      logger,
      onMessage,
      prepare: () => this.#prepare(),
      hello: () => this.#hello(),
      heartbeat: () => {
        const { freeMemoryBytes, lockMissingBytes } = this.#options.presence()
        return { type: 'heartbeat', freeMemoryBytes, lockMissingBytes }
      },
      onState: (connected, problem) => {
        this.#connection = { connected, since: this.#options.now(), ...(problem === '' ? {} : { problem }) }
        this.#options.onConnection(connected)
        this.#options.onChange()
      },
    })
  }

  /** The device and the pools that it made, as they are now: commands change them while the agent runs. */
  async #prepare(): Promise<void> {
    await this.#plane.find()
    const device = findDevice(this.#options.home) ?? this.#options.device
    await registerDevice(this.client, device, readCapabilities())
    for (const pool of this.#plane.servedPools()) if (pool.rootKey) await publishPool(this.client, device, pool)
  }

  #hello(): AgentMessage {
    const { peerId, addresses, lockMissingBytes } = this.#options.presence()
    return {
      type: 'hello',
      version,
      peerId,
      addresses: [...addresses],
      trials: true,
      certificates: this.#plane.servedPools().map(({ certificate }) => certificate),
      lockMissingBytes,
    }
  }
}
