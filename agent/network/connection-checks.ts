/** Whether connections still lead to their peers, and how long a round trip over them takes. */
import type { Connection } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { isInside, type LocalNetwork } from '../device/interfaces.ts'
import { ipOf } from '../../shared/peer-address.ts'
import { probeConnection } from './live-connection.ts'

/** Milliseconds that a peer has to answer on a connection that may be dead: tensors may be in front of the question. */
export const probeMs = 15_000
/** The same where an end of the connection says that it has another address now. */
export const probeDoubtfulMs = 3000
/** The same where a newer connection to the peer is there. */
export const probeOlderMs = 10_000

const unreachable = ({ remotePeer }: Connection, problem: string): MeshError =>
  new MeshError('peerUnreachable', { peer: remotePeer.toString(), problem })

const isIn = ({ remoteAddr }: Connection, networks: readonly LocalNetwork[]): boolean =>
  isInside(ipOf(remoteAddr.toString()), networks)

export class ConnectionChecks {
  readonly #latency = new WeakMap<Connection, number>()

  /** Milliseconds of a round trip, as measured last. */
  latencyOf(connection: Connection): number | undefined {
    return connection.rtt ?? this.#latency.get(connection)
  }

  /** @returns whether the peer answered */
  async measure(connection: Connection, timeoutMs = probeMs): Promise<boolean> {
    const ms = await probeConnection(connection, timeoutMs)
    if (ms !== undefined) this.#latency.set(connection, ms)
    return ms !== undefined
  }

  /** Ends those on which nobody answers. */
  async endSilent(connections: readonly Connection[], timeoutMs = probeMs): Promise<void> {
    await Promise.all(
      connections.map(async (connection) => {
        if (!(await this.measure(connection, timeoutMs)) && connection.status === 'open')
          connection.abort(unreachable(connection, 'no answer on this connection'))
      }),
    )
  }
}

/**
 * This machine is on other networks than before: what led over a lost one ends.
 * @returns the others, by whether they led over a network that was lost and is there again with another address
 */
export const endLost = (
  open: readonly Connection[],
  before: readonly LocalNetwork[],
  now: readonly LocalNetwork[],
): { readonly doubtful: readonly Connection[]; readonly others: readonly Connection[] } => {
  const lost = before.filter(({ address }) => !now.some((network) => network.address === address))
  if (lost.length === 0) return { doubtful: [], others: [] }
  const left = open.filter((connection) => isIn(connection, lost))
  const [dead, doubtful] = [
    left.filter((connection) => !isIn(connection, now)),
    left.filter((connection) => isIn(connection, now)),
  ]
  for (const connection of dead) connection.abort(unreachable(connection, 'this machine left that network'))
  return { doubtful, others: open.filter((connection) => !left.includes(connection)) }
}
