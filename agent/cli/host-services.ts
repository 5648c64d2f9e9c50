/** What `mesh up` keeps running on a machine that hosts a group: control plane, relay and agent, one home for all. */
import { join } from 'node:path'
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import { type ControlPlaneId, parseControlPlaneId } from '../../shared/ids.ts'
import { Lifecycle } from '../../shared/lifecycle.ts'
import { LogFile } from './log-file.ts'
import { SupervisedService } from './supervised-service.ts'

export interface HostServicesOptions {
  readonly home: Home
  /** Where control plane and relay listen. */
  readonly host: string
  readonly controlPlanePort: number
  readonly relayPort: number
  /** Further arguments of `mesh control-plane`. */
  readonly controlPlane: readonly string[]
  /** Further arguments of `mesh start`. */
  readonly agent: readonly string[]
  readonly logLevel: string
  /** Told when a service ends or runs again. */
  onEvent(text: string): void
}

/** Milliseconds that all parts together may take to stop: an agent that holds a model needs the most. */
const stopMs = 12_000

const textOf = (value: unknown): string => {
  if (typeof value !== 'string') throw new TypeError('a ready line lacks an address')
  return value
}

const portIn = (address: string): string => {
  const port = /(?:tcp\/|:)(\d+)/.exec(address.replace(/^https?:/, ''))?.[1]
  if (port === undefined) throw new Error(`no port in ${address}`)
  return port
}

export class HostServices {
  readonly #options: HostServicesOptions
  readonly #parts = new Lifecycle(stopMs)
  readonly #services: SupervisedService[] = []

  constructor(options: HostServicesOptions) {
    this.#options = options
  }

  /** Process ids by name; 0 for one that is between two lives. */
  pids(): Record<string, number> {
    return Object.fromEntries(this.#services.map(({ name, pid }) => [name, pid]))
  }

  /**
   * @param relay its address, for the devices of the group.
   * @returns its port and its key;
   * @throws MeshError `processEnded`
   */
  async startControlPlane(
    relay: string,
  ): Promise<{ readonly controlPlanePort: number; readonly controlPlaneKey: ControlPlaneId }> {
    const { host, controlPlanePort, controlPlane } = this.#options
    const plane = await this.#start('control plane', 'controlPlane', (ready) => [
      '--host',
      host,
      '--port',
      ready === undefined ? String(controlPlanePort) : portIn(textOf(ready.url)),
      '--relay',
      relay,
      ...controlPlane,
      '--json',
    ])
    return {
      controlPlanePort: Number(portIn(textOf(plane.url))),
      controlPlaneKey: parseControlPlaneId(textOf(plane.control_plane_key)),
    }
  }

  /** For the members of these pools. @returns its port and peer id; @throws MeshError `processEnded` */
  async startRelay(poolIds: readonly string[]): Promise<{ readonly relayPort: number; readonly relayPeer: string }> {
    const { host, relayPort } = this.#options
    const pools = poolIds.flatMap((poolId) => ['--pool', poolId])
    const relay = await this.#startRelay((ready) => [
      '--host',
      host,
      '--port',
      ready === undefined ? String(relayPort) : portIn(firstAddress(ready)),
      ...pools,
      '--json',
    ])
    const [, relayPeer = ''] = firstAddress(relay).split('/p2p/')
    return { relayPort: Number(portIn(firstAddress(relay))), relayPeer }
  }

  /** Its port is an option of another name here. */
  async #startRelay(
    args: (ready: Record<string, unknown> | undefined) => readonly string[],
  ): Promise<Record<string, unknown>> {
    try {
      return await this.#start('relay', 'relay', args)
    } catch (error) {
      const {
        code,
        fields: { look, ...fields },
      } = MeshError.from(error)
      if (typeof look !== 'string') throw error
      throw new MeshError(code, { ...fields, look: look.replace('--port', '--relay-port') }, error)
    }
  }

  /** @param controlPlaneUrl address of ours. @returns the ready line of the agent; @throws MeshError `processEnded` */
  startAgent(controlPlaneUrl: string, controlPlaneKey: ControlPlaneId): Promise<Record<string, unknown>> {
    return this.#start('agent', 'mesh', () => [
      'start',
      '--json',
      '--control-plane',
      controlPlaneUrl,
      '--control-plane-key',
      controlPlaneKey,
      ...this.#options.agent,
    ])
  }

  /** Ends everything, the agent first. @returns what went wrong */
  stop(): Promise<string[]> {
    return this.#parts.stop()
  }

  async #start(
    name: string,
    program: 'mesh' | 'controlPlane' | 'relay',
    args: (ready: Record<string, unknown> | undefined) => readonly string[],
  ): Promise<Record<string, unknown>> {
    const { home, logLevel, onEvent } = this.#options
    const log = new LogFile(join(home.logs, `${name.replace(' ', '-')}.log`))
    const service = new SupervisedService({
      name,
      program,
      home: home.root,
      onEvent,
      args: (ready) => [...args(ready), '--log-level', logLevel],
      onLine: (line) => log.write(line),
    })
    this.#services.push(this.#parts.add(service))
    return service.start()
  }
}

const firstAddress = (ready: Record<string, unknown>): string =>
  textOf(Array.isArray(ready.addresses) ? ready.addresses[0] : undefined)
