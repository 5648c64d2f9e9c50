/** libp2p circuit relay v2: helps peers behind NATs find each other, and carries their traffic when no direct path exists. */
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayServer } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import type { PeerId } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { MeshError, problemOf } from '../shared/errors.ts'
import type { KeyPair } from '../shared/identity/keys.ts'
import { listenError } from '../shared/listen-error.ts'
import type { Logger } from '../shared/log.ts'
import { type Registrar, RelayGate } from './relay-gate.ts'
import { limits } from '../shared/limits.ts'
import { RelayDoor } from './relay-door.ts'
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
/** New connections a second from one address; a pool behind one NAT starts at once after a power cut. */
const newConnectionsASecond = 100
/** Circuits through one connection: a device may be in rings of up to 64 devices that are all behind the relay. */
const circuitsPerDevice = 256
/** Milliseconds a slot lasts before it must be renewed. */
const reservationMs = 2 * 3600e3

const checkAddress = (text: string, flag: string): void => {
  try {
    if (multiaddr(text).getComponents().length === 0) throw new Error('it is empty')
  } catch (error) {
    throw new MeshError(
      'usage',
      { problem: `${flag}: "${text}" is no libp2p address (${problemOf(error)}); example: /ip4/192.168.1.5/tcp/4001` },
      error,
    )
  }
}

/** A service for `createLibp2p`: services are given what libp2p is made of. */
const registrarOf =
  () =>
  ({ registrar }: { readonly registrar: Registrar }): Registrar =>
    registrar

/** @throws MeshError `portInUse` | `usage` | `stateUnreadable` */
export const startRelay = async ({
  key,
  host,
  port,
  announce,
  maxReservations,
  pools,
  lists,
  logger,
}: RelayOptions): Promise<Relay> => {
  const family = host.includes(':') ? 'ip6' : 'ip4'
  const listen = `/${family}/${host}/tcp/${port}`
  checkAddress(listen, '--host')
  for (const address of announce) checkAddress(address, '--announce')
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
  const libp2p = await createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', key.seed),
    addresses: { listen: [listen], announce: [...announce] },
    transports: [tcp()],
    connectionEncrypters: [tls(), noise()],
    streamMuxers: [yamux()],
    connectionGater: door.gater,
    connectionManager: {
      maxConnections: Infinity,
      inboundConnectionThreshold: newConnectionsASecond,
      maxIncomingPendingConnections: Infinity,
      inboundUpgradeTimeout: limits.handshakeMs,
    },
    services: {
      identify: identify(),
      registrar: registrarOf(),
      // No limit of bytes or time on a circuit: tensor traffic without a direct path runs for as long as a job does.
      relay: circuitRelayServer({
        maxInboundHopStreams: circuitsPerDevice,
        maxOutboundStopStreams: circuitsPerDevice,
        reservations: { maxReservations, reservationTtl: reservationMs, applyDefaultLimit: false },
      }),
    },
    start: false,
  })
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
