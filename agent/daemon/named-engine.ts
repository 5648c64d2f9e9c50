/** An engine whose failures say on which device they happened: the one who reads them may sit at another. */
import { MeshError } from '../../shared/errors.ts'
import type { RingMember } from '../../shared/schema/ring.ts'
import type { Engine } from '../engine/engine.ts'

/** `backendFailed` becomes `rankFailed` with the name of the device; other errors name their peer already. */
export const nameEngine = (engine: Engine, { name, rank }: Pick<RingMember, 'name' | 'rank'>): Engine => ({
  ...engine,
  step: async (input) => {
    try {
      return await engine.step(input)
    } catch (error) {
      if (error instanceof MeshError && error.code === 'backendFailed') throw new MeshError('rankFailed', { peer: name, rank, problem: error.message }, error)
      throw error
    }
  },
})
