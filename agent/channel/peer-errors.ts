/** What is said of a rank whose link fails, whatever the link is, and of one that sends what is wrong. */
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { PeerName } from '../../shared/peer-report.ts'

export type { PeerName }

/** It does not answer, or does not read, for the step deadline. */
export const silentPeer = ({ rank, name }: PeerName, stepTimeoutMs: number): MeshError =>
  new MeshError('collectiveTimeout', { rank, peer: name, seconds: stepTimeoutMs / 1000 })

/** Its frames are not those of the protocol, or of another version of it. */
const malformed: readonly string[] = ['frameInvalid', 'frameTooLarge', 'protocolVersion']

/** It sent what no honest rank sends. @param name absent where ranks are only numbers: see `withPeerName` */
export const wrongPeer = (
  { rank, name }: { readonly rank: number; readonly name?: string },
  problem: string,
  cause?: unknown,
): MeshError => new MeshError('peerInvalid', { ...(name === undefined ? {} : { peer: name }), rank, problem }, cause)

/** The same error with the name of the device, where only its rank was known. */
export const withPeerName = (error: unknown, names: readonly string[]): unknown =>
  error instanceof MeshError && error.code === 'peerInvalid' && error.fields.peer === undefined
    ? wrongPeer(
        { rank: Number(error.fields.rank), name: names[Number(error.fields.rank)] },
        String(error.fields.problem),
        error,
      )
    : error

/** Its link broke; a cause that is told for itself already stays, one that it caused by what it sent has its name. */
export const lostPeer = (peer: PeerName, cause: unknown): MeshError => {
  if (!(cause instanceof MeshError) || cause.code === 'internal')
    return new MeshError('peerLost', { peer: peer.name, rank: peer.rank, problem: problemOf(cause) }, cause)
  if (malformed.includes(cause.code)) return wrongPeer(peer, String(cause.fields.problem ?? cause.message), cause)
  return cause
}
