/** A stream between two ranks, and the way that it takes. */
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import type { LinkPath } from '../../shared/schema/ring.ts'
import { isRelayed } from '../../shared/peer-address.ts'

export interface RankStream {
  readonly stream: Stream
  /** Whether its connection goes over a relay. */
  readonly path: LinkPath
  /** Address or name of the machine at the other end of a direct connection. */
  readonly host?: string
  /** Of a connection over a relay: whether this device still reaches that. */
  readonly relayThere?: () => boolean
}

/** IP address or name in an address of libp2p. */
const hostOf = (address: Multiaddr): string | undefined =>
  /^\/(?:ip4|ip6|dns|dns4|dns6)\/([^/]+)/.exec(address.toString())?.[1]

/** Peer id of the relay in the address of a connection over one. */
const relayOf = (connection: Connection): string | undefined =>
  /\/p2p\/([^/]+)\/p2p-circuit/.exec(connection.remoteAddr.toString())?.[1]

export const rankStreamOf = (libp2p: Libp2p, stream: Stream, connection: Connection): RankStream => {
  if (!isRelayed(connection.remoteAddr)) return { stream, path: 'direct', host: hostOf(connection.remoteAddr) }
  const relay = relayOf(connection)
  return {
    stream,
    path: 'relayed',
    relayThere: () =>
      libp2p.getConnections().some(({ status, remotePeer }) => status === 'open' && remotePeer.toString() === relay),
  }
}
