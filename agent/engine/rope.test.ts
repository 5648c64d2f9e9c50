/** The bundled model under other rotations: what config.json says of them reaches the text, in either spelling. */
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openModel } from '../model/model-folder.ts'
import { at, cases, continueGreedily } from './test/bundled-reference.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { type CreateBackend, openRing } from './test/ring-of-engines.ts'

const llama3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 }
/** Tokens compared. */
const length = 12
/** Under a name: settings that mean the same. */
const rotations = {
  trained: [{ rope_scaling: { rope_type: 'default' } }],
  wider: [
    { rope_theta: 500_000 },
    { rope_theta: undefined, rope_parameters: { rope_theta: 500_000, rope_type: 'default' } },
  ],
  scaled: [
    { rope_theta: 500_000, rope_scaling: { ...llama3, rope_type: 'llama3' } },
    { rope_theta: undefined, rope_parameters: { ...llama3, rope_theta: 500_000, rope_type: 'llama3' } },
  ],
}

test('each rotation gives a text of its own: the same in each spelling, on each backend', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-rope-'))
  try {
    cpSync(at('models/tiny-story'), folder, { recursive: true })
    const original = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object
    const textOf = async (change: object, create: CreateBackend): Promise<string> => {
      writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...original, ...change }))
      const model = openModel(folder, 'm')
      const ring = await openRing({ model, shares: [1], quant: 'f32', folder: join(folder, 'shards'), create })
      try {
        return (await continueGreedily(ring, cases[0].prompt_ids, length)).join(' ')
      } finally {
        await ring.close()
        model.close()
      }
    }
    const seen = new Set<string>()
    for (const [rotation, spellings] of Object.entries(rotations)) {
      const texts = new Set<string>()
      for (const change of spellings) {
        for (const create of Object.values(inlineBackends)) texts.add(await textOf(change, create))
      }
      assert.equal(texts.size, 1, rotation)
      seen.add([...texts][0])
    }
    assert.equal(seen.size, 3)
    assert.ok(seen.has(cases[0].continuation_ids.slice(0, length).join(' ')))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
