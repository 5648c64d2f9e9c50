/** Files in blocks: as near to the oracle as llama.cpp is on the same file; what finer blocks of cuts add is told. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type LlamaCpp, startLlamaCpp } from '../model/architecture/test/llama-cpp.ts'
import { inlineBackends } from './test/inline-backend.ts'
import type { MixtureName } from '../model/gguf/test/mixtures.ts'
import { compareFile, mixtureNames, wideModels } from './test/quantised-file.ts'

const skip = !inlineBackends.ggml
const folder = mkdtempSync(join(tmpdir(), 'mesh-quantised-'))
let llama: LlamaCpp
before(() => {
  if (!skip) llama = startLlamaCpp()
})
after(async () => {
  if (!skip) await llama.close()
  rmSync(folder, { recursive: true, force: true })
})

const worlds = [[1], [3, 1], [3, 1, 2]]
const shown = (errors: readonly number[]): string => errors.map((error) => error.toExponential(1)).join(' ')

/** One worst logit of thousands is luck to a part: that of the engine may be larger by this factor. */
const luck = 1.5

const cases: readonly (readonly [name: keyof typeof wideModels, readonly MixtureName[]])[] = [
  ['llama', mixtureNames],
  ['qwen3 moe', ['Q8_0', 'Q4_K_M', 'MXFP4']],
]

for (const [name, names] of cases)
  for (const mixture of names)
    test(`quantised files: ${name}, ${mixture}: as near to the oracle as llama.cpp`, { skip }, async (t) => {
      const { llamaCpp, own } = await compareFile({ name, mixture, worlds }, { folder, llama })
      t.diagnostic(`${mixture}: llama.cpp ${shown(llamaCpp)}; worlds of 1, 2, 3: ${shown(own)}`)
      // what is exact is not to be excused by caches of 16 bits
      const spread = Math.max(...(mixture === 'F32' ? llamaCpp.slice(0, 2) : llamaCpp))
      assert.ok(own[0] < luck * spread, `${own[0]}, where llama.cpp is up to ${spread} away`)
    })
