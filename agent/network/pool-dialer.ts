/** Dials one device of a pool where it may be, and passes the gate there. */
import type { Connection, PeerId } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { Gate } from './gate.ts'
import type { MeshNode } from './node.ts'
import { asError } from './open-stream.ts'
import type { Whereabouts } from './whereabouts.ts'

/** Of one address: a round trip or two. Addresses of other networks often lead nowhere without saying so. */
const dialMs = 2500

export interface Dial {
  readonly peer: PeerId
  readonly addresses: Whereabouts
  /** Nobody waits for it any more. */
  isOver(): boolean
}

/**
 * One address after the other, the newest first: libp2p would take them in any order and wait long for each.
 * @throws MeshError `peerUnreachable` (it names no address) | Error why the last one led nowhere
 */
export const dialInTurn = async ({ libp2p }: MeshNode, { peer, addresses, isOver }: Dial): Promise<Connection> => {
  const tried = new Set<string>()
  let last: unknown = new MeshError('peerUnreachable', { peer: peer.toString(), problem: 'it names no address' })
  for (;;) {
    const next = addresses.inTurn().find((address) => !tried.has(address))
    if (next === undefined || isOver()) throw last
    tried.add(next)
    try {
      return await libp2p.dial(multiaddr(`${next}/p2p/${peer.toString()}`), { signal: AbortSignal.timeout(dialMs) })
    } catch (error) {
      last = error
    }
  }
}

/** Passes the gate, or ends the connection: who shows no good certificate is not kept. @throws MeshError as `Gate.enter` does */
export const enterOrEnd = async (gate: Gate, connection: Connection, poolId: string): Promise<void> => {
  try {
    await gate.enter(connection, poolId, AbortSignal.timeout(limits.gateMs))
  } catch (error) {
    if (!gate.isMember(connection)) connection.abort(asError(error))
    throw error
  }
}

/** Answers of a gate that another try soon will not change. */
const refusals = /^(gateRefused|notMember|poolUnknown|protocolVersion|certificate\w+)$/

export const isRefusal = (error: unknown): boolean => error instanceof MeshError && refusals.test(error.code)
