/** What a state of fixed size does that a cache does not: it starts anew, and never goes back. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { bytesPerToken, rankBytes } from '../../shared/plan/shard-memory.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { SequenceStep } from '../../shared/wire/envelope.ts'
import { checkpointOf, randomRoles } from '../model/architecture/random-checkpoint.ts'
import { oracleLogits } from '../model/architecture/test/oracle.ts'
import { tinyFamilies } from '../model/architecture/test/tiny-models.ts'
import { shapeOf } from '../model/model-shape.ts'
import { matrixParts } from '../model/shard-parts.ts'
import { openGgml } from './ggml/library.ts'
import { RecurrentState } from './ggml/recurrent-state.ts'
import { layoutShard } from '../model/shard-layout.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { relativeError } from './test/reference-model.ts'
import { openPartsRing } from './test/ring-of-parts.ts'
import type { RingOfEngines } from './test/ring-of-engines.ts'
import { specs } from './test/specs.ts'
import { rolesIn, tokensOf, worstError } from './test/worst-error.ts'

const skip = !inlineBackends.ggml
const spec = specs['gated delta nets, value heads in tiles, another gate, experts']
const roles = randomRoles(spec, 3)
const bound = 2e-4

const openRing = async (t: TestContext): Promise<RingOfEngines> => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-delta-'))
  const ring = await openPartsRing({
    spec,
    shape: shapeOf(spec),
    roles: rolesIn(roles, spec),
    shares: [1, 2],
    quant: 'f32',
    folder,
    create: inlineBackends.ggml!,
    laneRows: 33,
  })
  t.after(async () => {
    await ring.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return ring
}

const last = (slot: number, position: number, tokens: readonly number[]) => [
  { slot, position, tokens: [...tokens], logits: 'last' as const },
]

test('ggml: a slot that begins again at its first position has an empty state', { skip }, async (t) => {
  const ring = await openRing(t)
  const tokens = tokensOf(spec, [12])
  const want = oracleLogits(spec, roles, tokens)
  for (let turn = 0; turn < 2; turn++) {
    const [whole] = await ring.step(last(3, 0, tokens))
    assert.ok(relativeError(whole, want[11]) < bound, `turn ${turn}`)
  }
})

test('ggml: sequences of one step keep their states apart, in prompts of any length and lanes', { skip }, async (t) => {
  const ring = await openRing(t)
  const texts = [50, 20, 9].map((count, which) => Array.from({ length: count }, (_, i) => (which * 40 + i * 13) % 96))
  const wants = texts.map((tokens) => oracleLogits(spec, roles, tokens))
  /** Rows `from`..`to` - 1 of a text in that slot. */
  const part = (which: number, slot: number, from: number, to = from + 1): [number, SequenceStep] => [
    which,
    { slot, position: from, tokens: texts[which].slice(from, to), logits: 'all' },
  ]
  const step = async (...parts: readonly [number, SequenceStep][]): Promise<void> => {
    const got = await ring.step(parts.map(([, sequence]) => sequence))
    const want = parts.flatMap(([which, { position, tokens }]) =>
      wants[which].slice(position, position + tokens.length),
    )
    const worst = Math.max(...got.map((logits, row) => relativeError(logits, want[row])))
    assert.ok(worst < bound, `relative error ${worst}`)
  }
  await step(part(0, 1, 0, 45), part(1, 2, 0, 2))
  await step(part(1, 2, 2, 4), part(2, 3, 0), part(0, 1, 45))
  await step(part(2, 3, 1), part(1, 2, 4))
  await step(part(0, 1, 46), part(1, 2, 5, 18), part(2, 3, 2))
  // another text in a slot that was not released, and in one that was
  await step(part(1, 1, 0, 6), part(0, 2, 0, 3))
  await ring.release(3)
  await step(part(0, 3, 0, 40), part(0, 2, 3), part(1, 1, 6))
  for (const from of [0, 1, 2, 3]) await step(part(2, 7, from))
})

test('a saved state goes on from there again', { skip }, () => {
  const state = new RecurrentState(openGgml(), spec, planShards(shapeOf(spec), [1])[0])
  state.advance({ position: 0, count: 5 })
  const before = state.save()
  state.advance({ position: 5, count: 1 })
  assert.throws(() => state.advance({ position: 5, count: 1 }), /6 tokens/)
  state.restore(before)
  state.advance({ position: 5, count: 2 })
  assert.deepEqual(state.save(), { ...before, length: 7 })
  state.free()
})

for (const tiny of tinyFamilies.filter(({ inGguf }) => inGguf))
  test(`ggml: ${tiny.name}: tensors in the order of GGUF, in worlds of one to four`, { skip }, async () => {
    const { spec: model, roles: tensors } = tiny.inGguf?.(checkpointOf(tiny)) ?? assert.fail()
    const chunks = [40, 1]
    const want = oracleLogits(model, tensors, tokensOf(model, chunks))
    for (const shares of [[1], [1, 2], [1, 1, 1, 1]]) {
      const error = await worstError({ spec: model, roles: tensors, quant: 'f32', shares, chunks }, want)
      assert.ok(error < bound, `shares ${shares.join(' ')}: relative error ${error}`)
    }
  })

test('a rank that holds all has the output projection as one matrix, others one for each tile', () => {
  const counts = [[1], [1, 2]].map((shares) =>
    planShards(shapeOf(spec), shares).map(
      (ranges) => matrixParts(spec, ranges).filter(({ name }) => name.startsWith('layers.0.delta.o')).length,
    ),
  )
  assert.deepEqual(counts, [[1], [3, 3]])
})

test('ggml: a state that would have to go back is refused, and the next sequence runs', { skip }, async (t) => {
  const ring = await openRing(t)
  const tokens = tokensOf(spec, [12])
  await ring.step(last(3, 0, tokens))
  await assert.rejects(ring.step(last(3, 8, tokens.slice(8))), /a state of 12 tokens cannot go on at position 8/)
  const [whole] = await ring.step(last(4, 0, tokens))
  assert.ok(relativeError(whole, oracleLogits(spec, roles, tokens)[11]) < bound)
})

for (const quant of ['q8', 'q4'] as const)
  test(`ggml: ${quant}: delta nets in worlds of one to three stay near the oracle`, { skip }, async () => {
    const chunks = [40, 1, 1]
    const want = oracleLogits(spec, roles, tokensOf(spec, chunks))
    const errors = []
    for (const shares of [[1], [1, 2], [1, 1, 1]])
      errors.push(await worstError({ spec, roles, quant, shares, chunks }, want))
    // rounding of weights, the same however the model is cut
    assert.ok(Math.max(...errors) < (quant === 'q8' ? 0.15 : 1), errors.join(' '))
    for (const error of errors.slice(1)) assert.ok(Math.abs(error - errors[0]) < 0.2 * errors[0], errors.join(' '))
  })

test('a delta net leaves a state in the plan, and nothing for a token more', () => {
  const shape = shapeOf(spec)
  const [ranges] = planShards(shape, [1])
  const attention = specs['biases of q, k, v and o, tied']
  const [layers, without] = [spec, attention].map(
    (one) => one.layers.filter((kind) => one.kinds[kind].mixer.kind === 'attention').length,
  )
  const perLayer = (tokens: number, count: number): number => (tokens - 256 * 4) / count
  const [plain] = planShards(shapeOf(attention), [1])
  assert.equal(
    perLayer(bytesPerToken(shape, ranges), layers),
    perLayer(bytesPerToken(shapeOf(attention), plain), without),
  )
  const held = layoutShard({ spec, ranges, quant: 'f32' })
    .tensors.filter(([name]) => /\.delta\.(a|b|convolution|dtBias|decay)$/.test(name))
    .reduce((sum, [, { dims }]) => sum + dims.reduce((a, b) => a * b), 0)
  assert.equal(
    shape.parts!.reduce((sum, part) => sum + part.units * (part.plain ?? 0), 0),
    held,
  )
  const state = shape.parts!.reduce((sum, part) => sum + part.units * part.state, 0)
  const emptied = { ...shape, parts: shape.parts!.map((part) => ({ ...part, state: 0 })) }
  assert.equal(rankBytes(shape, 'f32', ranges, 100) - rankBytes(emptied, 'f32', ranges, 100), 4 * state)
  // taps - 1 inputs of each channel and a matrix a value head, once more while a layer runs
  const [tiled, single] = [3 * (2 * 4 + 12) * 32 + 12 * 32 * 32, 2 * (2 * 4 + 4) * 32 + 4 * 32 * 32]
  assert.equal(state, 2 * tiled + 2 * single)
})
