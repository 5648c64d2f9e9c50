/**
 * The one control plane that this agent talks to: by which key it knows it, where that is, and which of the pools of
 * this device it serves. The admins of a pool say by which key its control plane is known; the agent follows.
 */
import type { Client } from '../../shared/api/client.ts'
import { provenKey } from '../../shared/api/pinned-tls.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import { type ControlPlaneId, shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import { hostIn } from '../../shared/url-host.ts'
import { createDeviceClient, firstContactText } from '../device/control-plane.ts'
import { findDevice, type LocalDevice, turnToControlPlane } from '../device/device.ts'
import type { PeerCache } from '../device/known-peers.ts'
import type { Pins } from '../device/pins.ts'
import { listPools, type LocalPool } from '../device/pools.ts'
import { reachOf } from '../network/announced-address.ts'
import { AnnouncedPlanes, type Announcement } from './announced-planes.ts'
import { ControlPlaneFinder } from './control-plane-finder.ts'

export interface CurrentPlaneOptions {
  readonly home: Home
  readonly device: LocalDevice
  /** What the command line says, if it does. */
  readonly url?: string
  readonly key?: ControlPlaneId
  readonly pins: Pins
  readonly cache: PeerCache
  readonly now: () => number
  readonly logger: Logger
  /** Asks the members that are connected where they reach theirs. */
  ask(): Promise<readonly Announcement[]>
}

/** Names that mean something on one local network only (RFC 6762, RFC 8375, and what routers give out). */
const localName = /\.(?:local|home\.arpa|lan|internal)$/

export class CurrentPlane {
  readonly #options: CurrentPlaneOptions
  readonly #announced: AnnouncedPlanes
  readonly #finder: ControlPlaneFinder
  /** By which the agent knows it; `undefined` before it was met. */
  #key: ControlPlaneId | undefined
  /** Pools of which was said that they are not served, and by whom they are. */
  readonly #said = new Set<string>()

  constructor(options: CurrentPlaneOptions) {
    const { home, device, cache, now, logger, ask, key } = options
    this.#options = options
    this.#key = key ?? device.config.controlPlaneKey
    this.#announced = new AnnouncedPlanes({
      now,
      logger,
      provenKey,
      isPrivatePool: () => this.#given().some(isPrivate),
    })
    this.#finder = new ControlPlaneFinder({
      logger,
      fetch,
      ask,
      announced: this.#announced,
      given: () => this.#given(),
      key: () => this.#key,
      remembered: () => cache.controlPlanes,
      connect: (url) =>
        createDeviceClient({
          home,
          device,
          url,
          controlPlaneKey: this.#key,
          onMet: (met) => {
            this.#key = met
          },
          onFirstContact: (met, at) => logger.warn({ url: at, key: met }, firstContactText(met, at)),
        }),
    })
  }

  get client(): Client {
    return this.#finder.client
  }

  get key(): ControlPlaneId | undefined {
    return this.#key
  }

  /** Looks for the control plane that our pools are served by. @throws MeshError `stateUnreadable` */
  async find(): Promise<void> {
    this.#key = this.#wanted()
    await this.#finder.find()
  }

  /**
   * It answered: it is remembered, for the next start and for the commands of this device.
   * @throws MeshError `stateUnwritable`
   */
  connected(): void {
    const { home, cache } = this.#options
    const { url, controlPlaneKey } = this.client
    if (!this.#finder.isGiven(url)) cache.rememberControlPlane(url)
    const known = findDevice(home)?.config.controlPlaneKey
    if (controlPlaneKey !== undefined && known !== undefined && known !== controlPlaneKey)
      turnToControlPlane(home, { url, key: controlPlaneKey })
  }

  /** The network changed: what could not be reached may be there now. */
  moved(): void {
    this.#announced.forget()
  }

  /** False once our pools are served by another one than this. */
  isRight(): boolean {
    return this.#key === this.#wanted()
  }

  /** The pools that it serves; of the others the log tells once. @throws MeshError `stateUnreadable` */
  servedPools(): LocalPool[] {
    const { home, pins } = this.#options
    return listPools(home).filter((pool) => {
      const [wanted, got] = [pins.pinOf(pool.poolId)?.controlPlaneId, this.#key]
      if (wanted === undefined || got === undefined || wanted === got) return true
      this.#warn(pool, wanted, got)
      return false
    })
  }

  #warn({ poolId, name }: LocalPool, wanted: ControlPlaneId, got: ControlPlaneId): void {
    const { message, hint } = new MeshError('poolMoved', {
      poolId: shortId(poolId),
      want: shortId(wanted),
      got: shortId(got),
    })
    if (!this.#said.has(`${poolId} ${wanted} ${got}`))
      this.#options.logger.warn({ pool: name, url: this.client.url }, `${name}: ${message}; ${hint}`)
    this.#said.add(`${poolId} ${wanted} ${got}`)
  }

  /** What was said on the command line, then what the device knows: a command may have changed that. */
  #given(): string[] {
    const { home, device, url } = this.#options
    const known = findDevice(home)?.config.controlPlaneUrl ?? device.config.controlPlaneUrl
    return url === undefined || url === known ? [known] : [url, known]
  }

  /** The key that the admins of our pools name; where they do not agree, the one that the agent has, or else theirs. */
  #wanted(): ControlPlaneId | undefined {
    const { home, pins } = this.#options
    const named = listPools(home).flatMap(({ poolId }) => pins.pinOf(poolId)?.controlPlaneId ?? [])
    if (named.length === 0) return this.#known()
    return this.#key !== undefined && named.includes(this.#key) && new Set(named).size > 1 ? this.#key : named[0]
  }

  /**
   * Where nobody names one: the key of the command line, or the one that the device knows now, since a command may have
   * met or named another. At an address that is new to the agent, it is met for the first time.
   */
  #known(): ControlPlaneId | undefined {
    const { home, key } = this.#options
    const config = findDevice(home)?.config
    return key ?? config?.controlPlaneKey ?? (this.#given().includes(this.client.url) ? this.#key : undefined)
  }
}

const isPrivate = (url: string): boolean => {
  const host = hostIn(url)
  return localName.test(host) || reachOf(host) === 'private'
}
