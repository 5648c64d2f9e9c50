/** An engine whose steps are watched now and then, for spot checks of the other ranks. */
import type { Engine } from '../engine/engine.ts'
import type { SpotChecks } from './spot-checks.ts'

/** @param checks none in a ring of one */
export const watchEngine = (engine: Engine, checks: Pick<SpotChecks, 'choose' | 'observe'> | undefined): Engine =>
  checks === undefined
    ? engine
    : {
        ...engine,
        step: async (input) => {
          const watch = checks.choose(input)
          if (!watch) return engine.step(input)
          const result = await engine.step({ ...input, watch })
          checks.observe(result.seen, input.jobId)
          return result
        },
      }
