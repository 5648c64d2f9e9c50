/** The contract of backends, on each one as agents use it: in its own thread or process. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { planShards } from '../../shared/plan/shard-plan.ts'
import { type Model, openModel } from '../model/model-folder.ts'
import { writeRandomModel } from '../model/random-model.ts'
import { loadShard } from '../model/shard-cache.ts'
import { backendContract, contractShape } from './contract.ts'
import { createGgmlBackend } from './ggml/ggml-backend.ts'
import { createOnnxBackend } from './onnx/onnx-backend.ts'

/** ggml comes for Linux on x64 so far. */
const creators = { onnx: createOnnxBackend, ...(process.platform === 'linux' && process.arch === 'x64' ? { ggml: createGgmlBackend } : {}) }

for (const [name, create] of Object.entries(creators)) describe(`${name} keeps the contract of backends`, () => {
  let folder: string
  let model: Model
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'mesh-contract-'))
    writeRandomModel(join(folder, 'model'), { shape: contractShape, tied: false, dtype: 'F32', seed: 11 })
    model = openModel(join(folder, 'model'), 'random')
  })
  after(() => {
    model.close()
    rmSync(folder, { recursive: true, force: true })
  })

  for (const [what, check] of Object.entries(backendContract)) it(what, async () => {
    const { shape, normEpsilon, ropeTheta } = model.config
    const [ranges] = planShards(shape, [1])
    const shard = await loadShard({ model, ranges, quant: 'f32', cacheFolder: join(folder, 'shards') })
    await check({ model, open: (progress) => create({ shape, ranges, quant: 'f32', normEpsilon, ropeTheta, threads: 1, shard }, progress) })
  })
})
