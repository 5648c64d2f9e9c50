/**
 * The sharded engine against a plain float64 reference on random tiny models: shapes, world sizes, shares, prompt
 * lengths, prefill chunks, cached decode. Rows beyond the first chunk run on the cache, while the reference always
 * recomputes everything, so every case also compares cached decode with full recompute.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ModelShape, Quant } from '../../shared/schema/model.ts'
import { openModel } from '../model/model-folder.ts'
import type { BlockColumns } from '../model/quantize.ts'
import { writeRandomModel } from '../model/random-model.ts'
import type { Rope } from '../model/rope.ts'
import { referenceLogits } from './test/reference.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { readReference, relativeError } from './test/reference-model.ts'
import { type CreateBackend, openRing } from './test/ring-of-engines.ts'

interface Case {
  readonly shape: ModelShape
  readonly tied: boolean
  readonly dtype: 'F32' | 'F16' | 'BF16'
  readonly files: number
  readonly seed: number
  readonly rope: Rope
  readonly shares: number[]
  readonly chunks: number[]
}

const shapes: fc.Arbitrary<ModelShape> = fc
  .record({
    layers: fc.integer({ min: 1, max: 2 }),
    hidden: fc.integer({ min: 8, max: 72 }),
    group: fc.integer({ min: 1, max: 3 }),
    kvHeads: fc.integer({ min: 1, max: 5 }),
    headDim: fc.constantFrom(2, 4, 6, 8, 16),
    ffn: fc.integer({ min: 5, max: 200 }),
    vocab: fc.integer({ min: 33, max: 300 }),
  })
  .map(({ group, ...shape }) => ({ ...shape, heads: group * shape.kvHeads, context: 512 }))

/** An original context so short that the few pairs of these heads fall into all three of its ranges. */
const llama3: fc.Arbitrary<Rope['scaling']> = fc.record({
  kind: fc.constant('llama3'),
  factor: fc.constantFrom(2, 8, 32),
  lowFrequencyFactor: fc.constant(1),
  highFrequencyFactor: fc.constantFrom(2, 4, 8),
  originalContext: fc.constantFrom(16, 64, 8192),
})

const cases: fc.Arbitrary<Case> = fc.record({
  shape: shapes,
  tied: fc.boolean(),
  dtype: fc.constantFrom('F32', 'F16', 'BF16'),
  files: fc.integer({ min: 1, max: 3 }),
  seed: fc.integer({ min: 1, max: 1e9 }),
  rope: fc.record({
    theta: fc.constantFrom(100, 10_000, 500_000),
    scaling: fc.option(llama3, { nil: undefined, freq: 2 }),
  }),
  shares: fc.array(fc.constantFrom(1, 2, 0.5, 0.25, 3), { minLength: 1, maxLength: 6 }),
  // a prompt in up to three chunks, then single tokens; 24 rows and more take the other form of attention, 33 two lanes
  chunks: fc
    .tuple(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 3 }), fc.integer({ min: 0, max: 3 }))
    .map(([prompt, decoded]) => [...prompt, ...Array.from({ length: decoded }, () => 1)]),
})

const inFolder = async (action: (folder: string) => Promise<void>): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-differential-'))
  try {
    await action(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** How weights are held. */
interface Held {
  readonly quant: Quant
  readonly block?: BlockColumns
}

/** Worst relative error over all positions of one case. */
const worstError = async (one: Case, { quant, block }: Held, create: CreateBackend): Promise<number> => {
  let worst = 0
  await inFolder(async (folder) => {
    writeRandomModel(folder, one)
    const model = openModel(folder, 'random')
    const tokens = Array.from(
      { length: one.chunks.reduce((a, b) => a + b, 0) },
      (_, i) => (i * 31 + one.seed) % one.shape.vocab,
    )
    const want = referenceLogits(readReference(model, quant, block), tokens)
    const ring = await openRing({
      model,
      shares: one.shares,
      quant,
      blocks: block && [block],
      folder: join(folder, 'shards'),
      create,
      laneRows: 33,
    })
    try {
      let position = 0
      for (const count of one.chunks) {
        const got = await ring.step([
          { slot: 1, position, tokens: tokens.slice(position, position + count), logits: 'all' },
        ])
        for (const [row, logits] of got.entries()) worst = Math.max(worst, relativeError(logits, want[position + row]))
        position += count
      }
    } finally {
      await ring.close()
      model.close()
    }
  })
  return worst
}

/**
 * Bounds of the relative error. f32 on ggml: its f32 kernels sum in another order and the mask is f16. Quantised: both
 * round activations to 8 bits (accuracy level 4; Q8_0 blocks), which on random weights costs up to a few percent.
 */
const bounds = { onnx: { f32: 2e-5, quantised: 0.1 }, ggml: { f32: 2e-4, quantised: 0.1 } } as const

for (const [name, create] of Object.entries(inlineBackends)) {
  const bound = bounds[name as keyof typeof bounds]

  test(`${name}: f32 equals the float64 reference on 200 random models and splits`, async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (one) => {
        const error = await worstError(one, { quant: 'f32' }, create)
        assert.ok(error < bound.f32, `relative error ${error}`)
      }),
      { numRuns: 200, seed: 20261121, endOnFailure: true },
    )
  })

  const helds: readonly Held[] = [
    { quant: 'q8' },
    { quant: 'q4' },
    ...(name === 'onnx' ? [{ quant: 'q4', block: 128 } as const] : []),
  ]
  test(`${name}: q8 and q4 stay within the noise of 8-bit activations on 40 random models and splits`, async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.constantFrom<Held>(...helds), async (one, held) => {
        // widths that are no whole blocks, and parts that begin inside of one, are for onnx alone: ggml refuses them
        const whole = (columns: number): number => Math.max(32, Math.round(columns / 32) * 32)
        const { hidden, ffn } = one.shape
        const shape =
          name === 'ggml' ? { ...one.shape, headDim: 32, hidden: whole(hidden), ffn: whole(ffn) } : one.shape
        const error = await worstError({ ...one, shape }, held, create)
        assert.ok(error < bound.quantised, `relative error ${error}`)
      }),
      { numRuns: 40, seed: 20261121, endOnFailure: true },
    )
  })
}

for (const [name, create] of Object.entries(inlineBackends))
  test(`${name}: a large vocabulary of any number of rows runs, however the machine's kernels group rows`, async () => {
    for (const vocab of [257, 293, 300, 516]) {
      const shape: ModelShape = {
        layers: 1,
        hidden: 32,
        heads: 1,
        kvHeads: 1,
        headDim: 32,
        ffn: 96,
        vocab,
        context: 512,
      }
      for (const quant of ['q4', 'q8'] as const) {
        const one: Case = {
          shape,
          tied: true,
          dtype: 'F16',
          files: 1,
          seed: 14,
          rope: { theta: 10_000 },
          shares: [1],
          chunks: [36, 1],
        }
        const error = await worstError(one, { quant }, create)
        assert.ok(error < bounds.ggml.quantised, `${vocab} rows, ${quant}: relative error ${error}`)
      }
    }
  })

for (const [name, create] of Object.entries(inlineBackends))
  test(`${name}: several sequences of different lengths in one step do not disturb each other`, async () => {
    await inFolder(async (folder) => {
      const shape: ModelShape = {
        layers: 2,
        hidden: 48,
        heads: 6,
        kvHeads: 3,
        headDim: 8,
        ffn: 100,
        vocab: 90,
        context: 512,
      }
      writeRandomModel(folder, { shape, tied: false, dtype: 'F32', seed: 5 })
      const model = openModel(folder, 'random')
      const reference = readReference(model, 'f32')
      const texts = [30, 4, 11].map((length, index) =>
        Array.from({ length: length + 2 }, (_, i) => (i * 13 + index * 7) % shape.vocab),
      )
      const ring = await openRing({
        model,
        shares: [2, 1],
        quant: 'f32',
        folder: join(folder, 'shards'),
        create,
        laneRows: 33,
      }) // the second text crosses from lane to lane
      try {
        const wanted = texts.map((tokens) => referenceLogits(reference, tokens))
        const first = await ring.step(
          texts.map((tokens, slot) => ({ slot, position: 0, tokens: tokens.slice(0, -2), logits: 'last' as const })),
        )
        for (const [slot, logits] of first.entries())
          assert.ok(relativeError(logits, wanted[slot][texts[slot].length - 3]) < 2e-4)
        for (const back of [2, 1]) {
          const next = await ring.step(
            texts.map((tokens, slot) => ({
              slot,
              position: tokens.length - back,
              tokens: [tokens[tokens.length - back]],
              logits: 'last' as const,
            })),
          )
          for (const [slot, logits] of next.entries())
            assert.ok(relativeError(logits, wanted[slot][texts[slot].length - back]) < 2e-4)
        }
      } finally {
        await ring.close()
        model.close()
      }
    })
  })
