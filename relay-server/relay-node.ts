/** The libp2p node of a relay: transports, encryption, and the relay service with its limits. */
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayServer } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import type { ConnectionGater } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { MeshError, problemOf } from '../shared/errors.ts'
import type { KeyPair } from '../shared/identity/keys.ts'
import { limits } from '../shared/limits.ts'
import type { Registrar } from './relay-gate.ts'

export interface RelayNodeOptions {
  readonly key: KeyPair
  /** libp2p address. */
  readonly listen: string
  readonly announce: readonly string[]
  readonly maxReservations: number
  readonly gater: ConnectionGater
}

/** New connections a second from one address; a pool behind one NAT starts at once after a power cut. */
const newConnectionsASecond = 100
/** Circuits through one connection: a device may be in rings of up to 64 devices that are all behind the relay. */
const circuitsPerDevice = 256
/** Milliseconds a slot lasts before it must be renewed. */
const reservationMs = 2 * 3600e3

/** @throws MeshError `usage` for what is no address of libp2p */
export const checkAddress = (text: string, flag: string): void => {
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

/** Not started yet. */
export const createRelayNode = async ({ key, listen, announce, maxReservations, gater }: RelayNodeOptions) =>
  createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', key.seed),
    addresses: { listen: [listen], announce: [...announce] },
    transports: [tcp()],
    connectionEncrypters: [tls(), noise()],
    streamMuxers: [yamux()],
    connectionGater: gater,
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
