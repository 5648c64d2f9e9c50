/** Left and right neighbour on the ring. */
import type { RingMember } from '../../shared/schema/ring.ts'

export const neighbours = (
  members: readonly RingMember[],
  rank: number,
): { readonly leftNeighbor: string; readonly rightNeighbor: string } => {
  const at = (index: number): string => members[(index + members.length) % members.length].deviceId
  return { leftNeighbor: at(rank - 1), rightNeighbor: at(rank + 1) }
}
