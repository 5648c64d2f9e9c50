/** The peer cache: a bounded file of who was met where, read at start and by `mesh pool-peers`. */
import { type Home, writeStateJson } from '../../shared/home.ts'
import { type FoundBy, type KnownPeer, KnownPeers } from '../../shared/schema/known-peers.ts'
import { readChecked } from './checked-state.ts'

/** Four full rings; whoever was not seen for longest is forgotten first. */
const maxPeers = 256
/** Networks between which a device moves. */
const maxAddresses = 8
const maxControlPlanes = 8

/** What was remembered; nothing when there is no file. @throws MeshError `stateUnreadable` */
export const readKnownPeers = (home: Home): KnownPeers =>
  readChecked(home.knownPeers, KnownPeers) ?? { peers: [], controlPlanes: [] }

export interface Sighting {
  readonly poolId: string
  readonly deviceId: string
  /** Where the connection leads. */
  readonly address: string
  readonly found: FoundBy
  readonly latencyMs?: number
  /** Where it can be dialled; absent when that is not known, as for a peer that dialled us. */
  readonly dialable?: string
  readonly at: number
}

const keyOf = ({ poolId, deviceId }: { readonly poolId: string; readonly deviceId: string }): string =>
  `${poolId}/${deviceId}`

const newest = (worked: KnownPeer['worked'], address: string, at: number): KnownPeer['worked'] =>
  [{ address, at }, ...worked.filter((known) => known.address !== address)].slice(0, maxAddresses)

export class PeerCache {
  readonly #home: Home
  readonly #peers: Map<string, KnownPeer>
  readonly #names = new Map<string, string>()
  #controlPlanes: readonly string[]
  #listenPort: number | undefined
  #changed = false

  /** A damaged file is as good as none: it is only a memory. */
  constructor(home: Home) {
    this.#home = home
    let known: KnownPeers = { peers: [], controlPlanes: [] }
    try {
      known = readKnownPeers(home)
    } catch {
      this.#changed = true
    }
    this.#peers = new Map(known.peers.map((peer) => [keyOf(peer), peer]))
    this.#controlPlanes = known.controlPlanes
    this.#listenPort = known.listenPort
  }

  peersOf(poolId: string): KnownPeer[] {
    return [...this.#peers.values()].filter((peer) => peer.poolId === poolId)
  }

  get controlPlanes(): readonly string[] {
    return this.#controlPlanes
  }

  get listenPort(): number | undefined {
    return this.#listenPort
  }

  set listenPort(port: number | undefined) {
    if (port === this.#listenPort) return
    this.#listenPort = port
    this.#changed = true
  }

  /** A control plane that peers told of works. */
  rememberControlPlane(url: string): void {
    if (this.#controlPlanes[0] === url) return
    this.#controlPlanes = [url, ...this.#controlPlanes.filter((known) => known !== url)].slice(0, maxControlPlanes)
    this.#changed = true
  }

  /** How the device calls itself. */
  name(poolId: string, deviceId: string, name: string): void {
    const key = keyOf({ poolId, deviceId })
    this.#names.set(key, name)
    const known = this.#peers.get(key)
    if (known === undefined || known.name === name) return
    this.#peers.set(key, { ...known, name })
    this.#changed = true
  }

  /** The device is connected now. @returns true when that is more than another moment of the same */
  saw({ poolId, deviceId, address, found, latencyMs, dialable, at }: Sighting): boolean {
    const key = keyOf({ poolId, deviceId })
    const before = this.#peers.get(key)
    const name = this.#names.get(key) ?? before?.name
    const worked = dialable === undefined ? (before?.worked ?? []) : newest(before?.worked ?? [], dialable, at)
    this.#peers.set(key, {
      poolId,
      deviceId,
      ...(name === undefined ? {} : { name }),
      address,
      found,
      ...(latencyMs === undefined ? {} : { latencyMs }),
      lastSeenAt: at,
      worked,
    })
    this.#changed = true
    return (
      before?.address !== address ||
      before.found !== found ||
      (before.latencyMs === undefined && latencyMs !== undefined)
    )
  }

  /** Forgets pools that this device left. */
  keepPools(poolIds: readonly string[]): void {
    for (const [key, { poolId }] of this.#peers)
      if (!poolIds.includes(poolId)) this.#changed = this.#peers.delete(key) || this.#changed
  }

  /** Writes what changed. @throws MeshError `stateUnwritable` */
  save(): void {
    if (!this.#changed) return
    const byTime = [...this.#peers.values()].toSorted((a, b) => b.lastSeenAt - a.lastSeenAt)
    for (const forgotten of byTime.slice(maxPeers)) this.#peers.delete(keyOf(forgotten))
    writeStateJson(this.#home.knownPeers, {
      peers: byTime.slice(0, maxPeers),
      controlPlanes: [...this.#controlPlanes],
      ...(this.#listenPort === undefined ? {} : { listenPort: this.#listenPort }),
    } satisfies KnownPeers)
    this.#changed = false
  }
}
