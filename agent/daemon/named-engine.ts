/** An engine whose failures say on which device they happened: the one who reads them may sit at another. */
import { MeshError } from '../../shared/errors.ts'
import type { RingMember } from '../../shared/schema/ring.ts'
import { withPeerName } from '../channel/peer-errors.ts'
import type { Engine } from '../engine/engine.ts'

/**
 * `backendFailed` becomes `rankFailed` with the name of this device; a rank that sent what cannot be right gets its
 * own.
 * @param members of the epoch, by rank
 */
export const nameEngine = (engine: Engine, rank: number, members: readonly Pick<RingMember, 'name'>[]): Engine => ({
  ...engine,
  step: async (input) => {
    try {
      return await engine.step(input)
    } catch (error) {
      if (error instanceof MeshError && error.code === 'backendFailed')
        throw new MeshError('rankFailed', { peer: members[rank].name, rank, problem: error.message }, error)
      throw withPeerName(
        error,
        members.map(({ name }) => name),
      )
    }
  },
})
