/** Spot checks of one rank of a benchmark, switched on and off between prompts. */
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { SpotChecks } from '../agent/checks/spot-checks.ts'
import { watchEngine } from '../agent/checks/watched-engine.ts'
import { blockColumnsFor } from '../agent/compute/choose-backend.ts'
import type { Engine } from '../agent/engine/engine.ts'
import { openModel } from '../agent/model/model-folder.ts'
import { silentLogger } from '../shared/log.ts'
import type { RankRanges } from '../shared/schema/ring.ts'
import type { RankIdentity } from './rank-node.ts'
import type { WeightSettings } from './weights.ts'

export interface BenchChecks {
  around(engine: Engine): Engine
  /** From the next step on. @returns milliseconds of processor that checks took so far, when nothing is under way any more */
  use(on: boolean): Promise<number>
  close(): Promise<void>
}

export const openChecks = async ({
  rank,
  modelFolder,
  quant,
  backend,
  folder,
  plan,
}: RankIdentity & WeightSettings & { readonly plan: readonly RankRanges[] }): Promise<BenchChecks> => {
  if (modelFolder === undefined) throw new Error('spot checks want a model folder')
  const model = openModel(modelFolder, 'bench')
  const { digests } = await model.identify()
  const { spec } = model.config
  const checks = new SpotChecks({
    rank,
    ffn: plan.map(({ ffn }) => ffn),
    quant,
    block: blockColumnsFor(backend, quant),
    logger: silentLogger(),
    onChange: () => {},
    folder: join(folder, 'halves'),
    modelFolder,
    digests,
    spec,
  })
  let isOn = false
  return {
    around: (engine) => {
      const watched = watchEngine(engine, checks)
      return { ...engine, step: (input) => (isOn ? watched : engine).step(input) }
    },
    use: async (on) => {
      isOn = on
      while (!checks.isReady || !checks.isSettled) await pause(50)
      return checks.checkMs
    },
    close: async () => {
      await checks.close()
      model.close()
    },
  }
}
