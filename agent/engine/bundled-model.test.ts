/**
 * The bundled model against its reference: `test/data/tiny-story-reference.json` was made by an independent numpy
 * float32 pass over the same file (models/tiny-story/recipe/reference.py).
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Quant } from '../../shared/schema/model.ts'
import type { Model } from '../model/model-folder.ts'
import { loadTokenizer } from '../model/tokenizer.ts'
import { blockColumnsFor } from '../compute/choose-backend.ts'
import {
  at,
  cases,
  checkReference,
  continueGreedily,
  creators,
  openBundledModel,
  ringKinds,
} from './test/bundled-reference.ts'
import { openRing, type RingOfEngines } from './test/ring-of-engines.ts'

const { stories } = JSON.parse(readFileSync(at('test/data/held-out-stories.json'), 'utf8')) as { stories: string[] }

/** Mean negative log-likelihood in nats over the first `budget` predicted tokens of the stories. */
const meanLoss = async (ring: RingOfEngines, encode: (text: string) => number[], budget: number): Promise<number> => {
  let loss = 0
  let count = 0
  for (const story of stories) {
    const tokens = encode(story)
    const rows = await ring.step([{ slot: 3, position: 0, tokens, logits: 'all' }])
    for (let i = 0; i + 1 < tokens.length && count < budget; i++, count++) {
      const top = rows[i].reduce((a, b) => Math.max(a, b), -Infinity)
      loss += top + Math.log(rows[i].reduce((sum, value) => sum + Math.exp(value - top), 0)) - rows[i][tokens[i + 1]]
    }
    await ring.release(3)
    if (count >= budget) break
  }
  assert.equal(count, budget)
  return loss / count
}

/**
 * How each kind of ring is cut: every kind alone or not, evenly and not. What else there is of cuts is shown with random
 * models (`differential.test.ts`).
 */
const cuts: Readonly<Record<string, { readonly f32: readonly number[][]; readonly q8: readonly number[][] }>> = {
  onnx: { f32: [[1], [1, 1], [1, 1, 1], [5, 1, 3, 1]], q8: [[1], [2, 1, 1]] },
  ggml: { f32: [[1], [1, 1], [0.5, 0.25, 0.25], [1, 1, 1, 1, 1, 1]], q8: [[1], [1, 1]] },
  mixed: {
    f32: [
      [1, 1],
      [1, 1, 1, 1],
      [5, 1, 3, 1],
    ],
    q8: [[2, 1, 1]],
  },
}

for (const [kind, ranks] of Object.entries(ringKinds))
  describe(`bundled model on ${kind}`, () => {
    let folder: string
    let model: Model
    before(() => {
      folder = mkdtempSync(join(tmpdir(), 'mesh-bundled-'))
      model = openBundledModel()
    })
    after(() => {
      model.close()
      rmSync(folder, { recursive: true, force: true })
    })

    const withRing = async (
      shares: readonly number[],
      quant: Quant,
      action: (ring: RingOfEngines) => Promise<void>,
    ): Promise<void> => {
      const ring = await openRing({
        model,
        shares,
        quant,
        folder,
        create: ranks.map((name) => creators[name]),
        blocks: ranks.map((name) => blockColumnsFor(name, quant)),
      })
      try {
        await action(ring)
      } finally {
        await ring.close()
      }
    }

    for (const shares of cuts[kind].f32) {
      it(`f32, shares ${shares.join(' ')}: logits within 2e-3 at every position, greedy text identical`, async () => {
        await withRing(shares, 'f32', async (ring) => {
          for (const [slot, one] of cases.entries()) await checkReference(ring, one, { slot })
        })
      })
    }

    it('the tokenizer gives the reference prompts and texts', () => {
      const tokenizer = loadTokenizer(model.folder)
      assert.deepEqual(tokenizer.encode('Once upon a time'), cases[0].prompt_ids)
      assert.deepEqual(tokenizer.encodeChat([{ role: 'user', content: 'What is 7 plus 8?' }]), cases[2].prompt_ids)
      for (const { continuation_ids: ids, continuation_text: text } of cases)
        assert.equal(tokenizer.decode(ids), text.replace('<|end|>', ''))
    })

    for (const shares of cuts[kind].q8) {
      it(`q8, shares ${shares.join(' ')}: the first 32 greedy tokens are those of the reference`, async () => {
        await withRing(shares, 'q8', async (ring) => {
          for (const { prompt_ids: prompt, continuation_ids: continuation } of cases) {
            const count = Math.min(32, continuation.length)
            assert.deepEqual(await continueGreedily(ring, prompt, count), continuation.slice(0, count))
          }
        })
      })
    }

    it('q8 and q4: perplexity on 2,000 tokens of held-out stories stays close to f32', async (context) => {
      const tokenizer = loadTokenizer(model.folder)
      const loss: Partial<Record<Quant, number>> = {}
      for (const quant of ['f32', 'q8', 'q4'] as const) {
        await withRing([1, 1], quant, async (ring) => {
          loss[quant] = await meanLoss(ring, (text) => tokenizer.encode(text), 2000)
        })
      }
      const ratio = (quant: Quant): number => Math.exp((loss[quant] as number) - (loss.f32 as number))
      context.diagnostic(
        `perplexity: f32 ${Math.exp(loss.f32 as number).toFixed(4)}, q8 / f32 ${ratio('q8').toFixed(4)}, ` +
          `q4 / f32 ${ratio('q4').toFixed(4)}`,
      )
      assert.ok(ratio('q8') < 1.01, `q8 ${ratio('q8')}`)
      assert.ok(ratio('q4') < 1.15, `q4 ${ratio('q4')}`)
    })
  })
