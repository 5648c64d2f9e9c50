/** The libp2p node of an agent: transports, encryption, relay reservations. */
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { dcutr } from '@libp2p/dcutr'
import { identify } from '@libp2p/identify'
import type { Libp2p } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'

import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { KeyPair } from '../../shared/identity/keys.ts'
import { listenError } from '../../shared/listen-error.ts'
import type { Logger } from '../../shared/log.ts'
import { limits } from '../../shared/limits.ts'
import { Doorway } from './doorway.ts'
import { type OwnProtocols, ownProtocols } from './own-protocols.ts'
import { type Credential, RelayProofs } from './relay-proof.ts'
import { keepReservations, type RelayState } from './relay-reservation.ts'
import { socketTls } from './socket-tls.ts'

export interface NodeOptions {
  readonly key: KeyPair
  /** libp2p addresses, for example `/ip4/0.0.0.0/tcp/0`. */
  readonly listen: readonly string[]
  readonly announce: readonly string[]
  /** Relays at which a slot is reserved: `/ip4/.../tcp/.../p2p/<peer id>`. */
  readonly relays: readonly string[]
  /** What is shown to relays that serve some pools only. Absent: nothing. */
  readonly credentials?: () => readonly Credential[]
  readonly logger: Logger
}

export interface MeshNode {
  readonly name: string
  readonly libp2p: Libp2p
  readonly peerId: string
  readonly ownProtocols: OwnProtocols
  readonly doorway: Doorway
  /** Where others can reach this node now, relayed addresses included. */
  addresses(): string[]
  relays(): RelayState[]
  /**
   * Relays that the control plane names: slots are reserved there too. An address that cannot be read is told and left
   * out.
   */
  learnRelays(addresses: readonly string[]): void
  /** Tells peers and listeners the addresses of now: the interfaces of this machine changed. */
  announce(): Promise<void>
  onAddressChange(listener: () => void): void
  /** A relay gave no slot, or no more, for a new reason. */
  onRelayProblem(listener: () => void): void
  stop(): Promise<void>
}

/** Largest send window of a stream: holds a prefill chunk of [256, 4096] f32 without waiting for the reader. */
const streamWindowBytes = 4 * 2 ** 20

/**
 * Milliseconds after which a peer that answers no ping is gone. A ping waits behind the tensors that are on their way:
 * the windows of four peers take 13 s on 10 Mbit/s. What needs to know sooner has deadlines of its own.
 */
const pingMs = 30_000

/** Of libp2p's own, which count strangers and members alike: the doorway decides. */
const noLimits = {
  maxConnections: Infinity,
  inboundConnectionThreshold: Infinity,
  maxIncomingPendingConnections: Infinity,
} as const

const parseAddress = (text: string): Multiaddr => {
  try {
    return multiaddr(text)
  } catch (error) {
    throw new MeshError(
      'usage',
      { problem: `"${text}" is no libp2p address (${problemOf(error)}); example: /ip4/192.168.1.5/tcp/4001` },
      error,
    )
  }
}

/** Those that can be read; the others are told. */
const readable = (addresses: readonly string[], logger: Logger): Multiaddr[] =>
  addresses.flatMap((address) => {
    try {
      return [parseAddress(address)]
    } catch (error) {
      logger.warn(MeshError.from(error).message)
      return []
    }
  })

const build = async ({ key, listen, announce }: NodeOptions, doorway: Doorway) =>
  createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', key.seed),
    addresses: { listen: [...listen], announce: [...announce] },
    transports: [tcp(), circuitRelayTransport()],
    // TLS first: about twice as fast in Node
    connectionEncrypters: [doorway.paced(socketTls()), doorway.paced(noise())],
    streamMuxers: [
      yamux({ streamOptions: { maxStreamWindowSize: streamWindowBytes, maxReadBufferLength: 2 * streamWindowBytes } }),
    ],
    connectionGater: doorway.gater,
    connectionManager: {
      ...noLimits,
      inboundUpgradeTimeout: limits.handshakeMs,
      inboundStreamProtocolNegotiationTimeout: limits.gateMs,
    },
    connectionMonitor: { pingTimeout: { minTimeout: pingMs } },
    services: { identify: identify({ runOnConnectionOpen: false }), dcutr: dcutr(), ownProtocols: ownProtocols() },
    start: false,
  })

/** @throws MeshError `portInUse` | `usage` (a malformed address) */
export const createNode = async (options: NodeOptions): Promise<MeshNode> => {
  const { logger } = options
  const relays = options.relays.map(parseAddress)
  for (const address of [...options.listen, ...options.announce]) parseAddress(address)
  const doorway = new Doorway()
  const libp2p = await build(options, doorway)
  doorway.attach(libp2p)
  try {
    await libp2p.start()
  } catch (error) {
    await Promise.resolve(libp2p.stop()).catch(() => {})
    throw listenError(error, options.listen)
  }
  const relayListeners: (() => void)[] = []
  const proofs = new RelayProofs(libp2p, options.credentials ?? (() => []), logger)
  const reservations = keepReservations(libp2p, relays, {
    proofs,
    logger,
    onProblem: () => relayListeners.forEach((listener) => listener()),
  })
  const listeners: (() => void)[] = []
  let last = ''
  const addresses = (): string[] => libp2p.getMultiaddrs().map(String)
  libp2p.addEventListener('self:peer:update', () => {
    const now = addresses().join()
    if (now === last) return
    last = now
    for (const listener of listeners) listener()
  })
  return {
    name: 'network',
    libp2p,
    peerId: libp2p.peerId.toString(),
    ownProtocols: libp2p.services.ownProtocols,
    doorway,
    addresses,
    relays: () => reservations.states(),
    learnRelays: (named) => reservations.learn(readable(named, logger)),
    announce: async () => {
      await libp2p.peerStore.patch(libp2p.peerId, {
        multiaddrs: libp2p.getMultiaddrs().map((address) => address.decapsulate(`/p2p/${libp2p.peerId.toString()}`)),
      })
    },
    onAddressChange: (listener) => {
      listeners.push(listener)
    },
    onRelayProblem: (listener) => {
      relayListeners.push(listener)
    },
    stop: async () => {
      reservations.stop()
      await libp2p.stop()
    },
  }
}
