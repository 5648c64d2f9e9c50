/** libp2p circuit relay v2: helps peers behind NATs find each other, and carries their traffic when no direct path exists. */
import type { PeerId } from '@libp2p/interface'
import type { KeyPair } from '../shared/identity/keys.ts'
import { listenError } from '../shared/listen-error.ts'
import type { Logger } from '../shared/log.ts'
import { RelayDoor } from './relay-door.ts'
import { RelayGate } from './relay-gate.ts'
import { checkAddress, createRelayNode } from './relay-node.ts'
import { ServedPools } from './served-pools.ts'

export interface RelayOptions {
  readonly key: KeyPair
  readonly host: string
  readonly port: number
  /** Addresses that others shall dial; empty: the one it listens on. */
  readonly announce: readonly string[]
  /** Devices that hold a slot at once. */
  readonly maxReservations: number
  /** Ids of the pools whose members it serves; empty: everyone. */
  readonly pools: readonly string[]
  /** Folder for the revocation lists of those pools. */
  readonly lists: string
  readonly logger: Logger
}

export interface Relay {
  readonly name: string
  /** Dialable addresses with the peer id. */
  readonly addresses: readonly string[]
  stop(): Promise<void>
}

/** Connections beside those that hold a slot: peers that dial one of them. */
const connectionsPerReservation = 4
/** Connections that prove nothing, or hold no slot: where strangers hold many sockets there is room for others too. */
const fewestPlaces = 512

/** Where it listens, checked like what is announced. @throws MeshError `usage` */
const listenAddress = ({ host, port, announce }: RelayOptions): string => {
  const listen = `/${host.includes(':') ? 'ip6' : 'ip4'}/${host}/tcp/${port}`
  checkAddress(listen, '--host')
  for (const address of announce) checkAddress(address, '--announce')
  return listen
}

/** @throws MeshError `portInUse` | `usage` | `stateUnreadable` */
export const startRelay = async (options: RelayOptions): Promise<Relay> => {
  const { key, announce, maxReservations, pools, lists, logger } = options
  const listen = listenAddress(options)
  const free = (peer: PeerId): void => void libp2p.services.relay.reservations.delete(peer)
  const gate =
    pools.length === 0
      ? undefined
      : new RelayGate({
          pools: new ServedPools({ pools, folder: lists, now: Date.now }),
          now: Date.now,
          logger,
          onLeave: free,
          onMember: (peer) => door.proved(peer),
        })
  const door = new RelayDoor({
    places: Math.max(fewestPlaces, connectionsPerReservation * maxReservations),
    maxReservations,
    inner: gate?.gater,
    holders: () => libp2p.services.relay.reservations.keys(),
  })
  const libp2p = await createRelayNode({ key, listen, announce, maxReservations, gater: door.gater })
  door.attach(libp2p)
  try {
    await libp2p.start()
    await gate?.attach(libp2p, libp2p.services.registrar)
  } catch (error) {
    await Promise.resolve(libp2p.stop()).catch(() => {})
    throw listenError(error, [listen])
  }
  // libp2p would hold the slot of a device that is gone until it expires, hours later
  libp2p.addEventListener('peer:disconnect', ({ detail: peer }) => free(peer))
  return {
    name: 'relay',
    addresses: libp2p.getMultiaddrs().map(String),
    stop: async () => {
      gate?.stop()
      await libp2p.stop()
    },
  }
}
