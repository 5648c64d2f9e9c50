/** What is said of a rank whose link fails, whatever the link is. */
import { MeshError, problemOf } from '../../shared/errors.ts'

/** For people: rank and name of the device. */
export interface PeerName {
  readonly rank: number
  readonly name: string
}

/** It does not answer, or does not read, for the step deadline. */
export const silentPeer = ({ rank, name }: PeerName, stepTimeoutMs: number): MeshError => new MeshError('collectiveTimeout', { rank, peer: name, seconds: stepTimeoutMs / 1000 })

/** Its link broke; a cause that is told for itself already stays. */
export const lostPeer = ({ rank, name }: PeerName, cause: unknown): MeshError =>
  cause instanceof MeshError && cause.code !== 'internal' ? cause : new MeshError('peerLost', { peer: name, rank, problem: problemOf(cause) }, cause)
