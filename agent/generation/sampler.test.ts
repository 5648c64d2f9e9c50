/** Sampling over split vocabularies against a plain float64 softmax over the whole one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Sampling } from '../../shared/schema/job.ts'
import {
  candidateCount,
  type Candidates,
  decodeCandidates,
  decodeLogits,
  encodeCandidates,
  encodeLogits,
} from './candidates.ts'
import { philox4x32, uniformAt } from './random.ts'
import { adjustLogits, type DrawContext, sample, sampleAll, topCandidates } from './sampler.ts'

const samplings: fc.Arbitrary<Sampling> = fc.record({
  temperature: fc.constantFrom(0, 0.3, 0.7, 1, 2, 3, 10),
  topK: fc.constantFrom(0, 0, 1, 20, 1024),
  topP: fc.constantFrom(0, 0.1, 0.5, 0.9, 0.999, 1),
  minP: fc.constantFrom(0, 0.05, 0.3),
  repetitionPenalty: fc.constantFrom(1, 1.3, 0.8),
  seed: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
})

const logitsOf = (length: number, seed: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => 6 * uniformAt(seed, i) + (i % 7 === 0 ? 2 : -1))

/** Straight from the definitions, float64, whole vocabulary. */
const reference = (logits: Float32Array, history: readonly number[], sampling: Sampling, position: number): number => {
  const used = new Set(history)
  const values = Array.from(logits, (value, id) =>
    !used.has(id)
      ? value
      : Math.fround(value > 0 ? value / sampling.repetitionPenalty : value * sampling.repetitionPenalty),
  )
  const order = values.map((value, id) => ({ value, id })).toSorted((a, b) => b.value - a.value || a.id - b.id)
  if (sampling.temperature === 0) return order[0].id
  let kept = sampling.topK > 0 ? order.slice(0, sampling.topK) : order
  const weight = ({ value }: { value: number }): number => Math.exp((value - order[0].value) / sampling.temperature)
  const total = kept.reduce((sum, one) => sum + weight(one), 0)
  let reached = 0
  kept = kept.filter((one, place) => {
    const before = reached
    reached += weight(one) / total
    return place === 0 || sampling.topP >= 1 || before < sampling.topP
  })
  kept = kept.filter((one) => weight(one) >= sampling.minP)
  let left = uniformAt(sampling.seed, position) * kept.reduce((sum, one) => sum + weight(one), 0)
  return kept.find((one) => (left -= weight(one)) < 0)?.id ?? kept[kept.length - 1].id
}

const split = (logits: Float32Array, ranks: number): { start: number; part: Float32Array }[] =>
  Array.from({ length: ranks }, (_, rank) => {
    const start = Math.floor((logits.length * rank) / ranks)
    return { start, part: logits.subarray(start, Math.floor((logits.length * (rank + 1)) / ranks)) }
  })

/** A step whose candidates are there: draws at any position, and counts how often all logits were needed. */
const step = (logits: Float32Array, ranks: number, { history, sampling }: DrawContext) => {
  const parts = split(logits, ranks)
  const candidates = parts.map(({ start, part }): Candidates =>
    decodeCandidates(
      encodeCandidates(topCandidates(part, start, { count: candidateCount(sampling), history, sampling })),
      { start, end: start + part.length },
    ),
  )
  const counts = { all: 0 }
  const draw = (change: Partial<Sampling>, position: number): number => {
    const drawn = sample(candidates, { ...sampling, ...change }, position)
    if (drawn) return drawn.id
    counts.all++
    const all = parts.map(({ start, part }) =>
      decodeLogits(encodeLogits({ vocabStart: start, logits: adjustLogits(part, start, { history, sampling }) }), {
        start,
        end: start + part.length,
      }),
    )
    return sampleAll(all, { ...sampling, ...change }, position).id
  }
  return { draw, counts }
}

const draw = (
  logits: Float32Array,
  ranks: number,
  { position, ...context }: DrawContext & { readonly position: number },
): number => step(logits, ranks, context).draw({}, position)

test('sampler: equals the float64 reference, however the vocabulary is split', () => {
  let differences = 0
  let draws = 0
  fc.assert(
    fc.property(
      samplings,
      fc.oneof(fc.integer({ min: 40, max: 900 }), fc.integer({ min: 1500, max: 4000 })),
      fc.integer({ min: 1, max: 1e6 }),
      fc.array(fc.integer({ min: 0, max: 39 }), { maxLength: 20 }),
      (sampling, length, seed, history) => {
        // every third time with many equal ones
        const logits = logitsOf(length, seed).map((logit) => (seed % 3 === 0 ? Math.round(logit) : logit))
        const want = reference(logits, history, sampling, seed % 1000)
        for (const ranks of [1, 2, 3, 5]) {
          draws++
          if (draw(logits, ranks, { history, sampling, position: seed % 1000 }) !== want) differences++
        }
      },
    ),
    { numRuns: 500, seed: 7 },
  )
  // f32 log-sum-exp may move the border of top-p by one token where a sum lies on it
  assert.ok(differences <= draws * 0.005, `${differences} of ${draws}`)
})

test('sampler: frequencies follow the probabilities', () => {
  const logits = Float32Array.of(1, 2, 0.5, -1)
  const weights = Array.from(logits, Math.exp)
  const total = weights.reduce((a, b) => a + b, 0)
  const counts = [0, 0, 0, 0]
  const draws = 20_000
  for (let position = 0; position < draws; position++)
    counts[
      draw(logits, 2, {
        history: [],
        position,
        sampling: { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 5 },
      })
    ]++
  const chiSquare = counts.reduce(
    (sum, count, id) => sum + (count - (draws * weights[id]) / total) ** 2 / ((draws * weights[id]) / total),
    0,
  )
  // 0.1 % of honest samplers exceed 16.3
  assert.ok(chiSquare < 16.3, `chi-square ${chiSquare} with 3 degrees of freedom`)
})

/** Upper 0.1 % point of chi-square (Wilson and Hilferty, 1931). */
const chiSquareBound = (freedom: number): number =>
  freedom * (1 - 2 / (9 * freedom) + 3.09 * Math.sqrt(2 / (9 * freedom))) ** 3

for (const [name, change] of [
  ['nothing is cut off', {}],
  ['top-p', { topP: 0.97 }],
  ['min-p', { minP: 0.02 }],
] as const) {
  test(`sampler: at temperature 3 every token of a large vocabulary comes as often as it is likely, on 1, 2 and 3 ranks: ${name}`, () => {
    const sampling: Sampling = { temperature: 3, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 9, ...change }
    const logits = Float32Array.from({ length: 5000 }, (_, i) => 12 * uniformAt(3, i) ** 2)
    const order = Array.from(logits.keys()).toSorted((a, b) => logits[b] - logits[a])
    const weights = order.map((id) => Math.exp((logits[id] - logits[order[0]]) / 3))
    const total = weights.reduce((a, b) => a + b, 0)
    let reached = 0
    const kept = weights.map((weight) => {
      const before = reached
      reached += weight / total
      return before < sampling.topP && weight >= sampling.minP ? weight : 0
    })
    const mass = kept.reduce((a, b) => a + b, 0)
    assert.ok(kept.slice(1024).reduce((a, b) => a + b, 0) / mass > 0.1, 'much lies behind the candidates of one rank')
    const bins = 50
    const places = new Map(order.map((id, place) => [id, Math.floor((place * bins) / order.length)]))
    const expected = Array.from(
      { length: bins },
      (_, bin) => kept.reduce((sum, weight, place) => sum + (places.get(order[place]) === bin ? weight : 0), 0) / mass,
    )
    for (const ranks of [1, 2, 3]) {
      const { draw: drawAt, counts } = step(logits, ranks, { history: [], sampling })
      const seen = Array.from({ length: bins }, () => 0)
      const draws = name === 'min-p' ? 600 : 2000
      for (let position = 0; position < draws; position++) seen[places.get(drawAt({}, position)) ?? 0]++
      const used = expected.flatMap((part, bin) => (part > 0 ? [(seen[bin] - draws * part) ** 2 / (draws * part)] : []))
      assert.ok(seen.every((count, bin) => count === 0 || expected[bin] > 0))
      const chiSquare = used.reduce((a, b) => a + b, 0)
      assert.ok(
        chiSquare < chiSquareBound(used.length - 1),
        `${ranks} ranks: chi-square ${chiSquare} with ${used.length - 1} degrees of freedom`,
      )
      assert.ok(counts.all < draws, `all logits were needed ${counts.all} times`)
      if (name === 'nothing is cut off')
        assert.ok(counts.all > 0 && counts.all < 0.6 * draws, `all logits were needed ${counts.all} times`)
    }
  })
}

test('sampler: all logits are asked for only where candidates do not tell', () => {
  const logits = Float32Array.from({ length: 5000 }, (_, i) => (i === 4000 ? 20 : 6 * uniformAt(3, i)))
  const neutral: Sampling = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 9 }
  const needed = (change: Partial<Sampling>): number => {
    const { draw: drawAt, counts } = step(logits, 2, { history: [], sampling: { ...neutral, ...change } })
    for (let position = 0; position < 200; position++) drawAt({}, position)
    return counts.all
  }
  assert.deepEqual(
    [
      {},
      { topP: 0.9 },
      { minP: 1e-4 },
      { temperature: 0 },
      { temperature: 10, topK: 1024 },
      { temperature: 10, topK: 1024, topP: 0.99 },
    ].map(needed),
    [0, 0, 0, 0, 0, 0],
  )
  assert.ok(needed({ temperature: 10 }) > 100)
})

test('sampler: equal logits fall to the lower id', () => {
  const sampling: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 }
  assert.equal(draw(Float32Array.of(3, 5, 5, 5), 2, { history: [], sampling, position: 0 }), 1)
})

test('sampler: a logit that is not a number is an error, not a token', () => {
  const sampling: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 }
  assert.throws(() => topCandidates(Float32Array.of(1, NaN, 2), 0, { count: 1, history: [], sampling }), {
    code: 'backendFailed',
  })
})

test('candidates: malformed bytes are refused', () => {
  const good = encodeCandidates({
    ids: Uint32Array.of(1, 2),
    logits: Float32Array.of(4, 3),
    logSumExp: 5,
    complete: false,
  })
  const all = encodeLogits({ vocabStart: 7, logits: Float32Array.of(1, -2) })
  const part = { start: 7, end: 9 }
  assert.deepEqual(decodeLogits(all, part), { vocabStart: 7, logits: Float32Array.of(1, -2) })
  for (const bytes of [
    new Uint8Array(0),
    all.subarray(0, 6),
    encodeLogits({ vocabStart: 7, logits: Float32Array.of(NaN, 1) }),
    encodeLogits({ vocabStart: 7, logits: Float32Array.of(Infinity, 1) }),
    encodeLogits({ vocabStart: 6, logits: Float32Array.of(1, 1) }),
    encodeLogits({ vocabStart: 7, logits: Float32Array.of(1) }),
  ])
    assert.throws(() => decodeLogits(bytes, part), { code: 'frameInvalid' })
  const vocabulary = { start: 0, end: 9 }
  assert.deepEqual(decodeCandidates(good, vocabulary).complete, false)
  assert.throws(() => decodeCandidates(new Uint8Array(8), vocabulary), { code: 'frameInvalid' }) // none of some
  for (const bytes of [
    new Uint8Array(0),
    new Uint8Array(7),
    good.subarray(0, 20),
    Uint8Array.from([255, 255, 255, 255, 0, 0, 0, 0]),
  ])
    assert.throws(() => decodeCandidates(bytes, vocabulary), { code: 'frameInvalid' })
})

test('candidates: what no honest rank sends is refused, and why', () => {
  const vocabulary = { start: 10, end: 20 }
  const sent = (ids: number[], logits: number[], logSumExp = 1, complete = false): Uint8Array =>
    encodeCandidates({ ids: Uint32Array.from(ids), logits: Float32Array.from(logits), logSumExp, complete })
  const lies: readonly (readonly [bytes: Uint8Array, problem: RegExp])[] = [
    [sent([10, 11], [NaN, 1]), /token 10 with a logit of NaN/],
    [sent([10, 11], [2, NaN]), /token 11 with a logit of NaN/],
    [sent([10], [Infinity]), /a logit of Infinity/],
    [sent([10], [1], NaN), /a sum of NaN/],
    [sent([10], [1], Infinity), /a sum of Infinity/],
    [sent([], []), /none/],
    [sent([], [], -Infinity, true), /0 as all of 10/],
    [sent([10], [1], 1, true), /1 as all of 10/],
    [sent([9], [1]), /token 9, its part of the vocabulary is 10 to 19/],
    [sent([20], [1]), /token 20/],
    [sent([10, 11], [1, 2]), /not in order/],
    [sent([11, 10], [1, 1]), /not in order/],
    [sent([10, 10], [1, 1]), /not in order/],
  ]
  for (const [bytes, problem] of lies)
    assert.throws(() => decodeCandidates(bytes, vocabulary), { code: 'frameInvalid', message: problem })
  assert.deepEqual([...decodeCandidates(sent([12, 10, 11], [3, 2, 2]), vocabulary).ids], [12, 10, 11])
  assert.equal(decodeCandidates(sent([], [], -Infinity, true), { start: 20, end: 20 }).ids.length, 0)
})

test('random: Philox4x32-10 known answers', () => {
  // from the test vectors of the authors' Random123 library (kat_vectors)
  assert.deepEqual(philox4x32([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
  const ones = 0xffffffff
  assert.deepEqual(philox4x32([ones, ones, ones, ones], [ones, ones]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd])
  assert.deepEqual(
    philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  )
})

test('random: 53 bits of the block of a position, whose upper half is the second word', () => {
  assert.equal(uniformAt(0, 0), ((0x6627e8d5 >>> 5) * 2 ** 26 + (0xe169c58d >>> 6)) / 2 ** 53)
  const of = ([high, low]: readonly number[]): number => ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53
  assert.equal(uniformAt(7, 5), of(philox4x32([5, 0, 0, 0], [7, 0])))
  assert.equal(uniformAt(7, 2 ** 32 + 3), of(philox4x32([3, 1, 0, 0], [7, 0])))
})
