/** Sampling over split vocabularies against a plain float64 softmax over the whole one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Sampling } from '../../shared/schema/job.ts'
import { candidateCount, type Candidates, decodeCandidates, encodeCandidates } from './candidates.ts'
import { philox4x32, uniformAt } from './random.ts'
import { sample, topCandidates } from './sampler.ts'

const samplings: fc.Arbitrary<Sampling> = fc.record({
  temperature: fc.constantFrom(0, 0.3, 0.7, 1, 2),
  topK: fc.constantFrom(0, 1, 3, 20),
  topP: fc.constantFrom(0.1, 0.5, 0.9, 1),
  minP: fc.constantFrom(0, 0.05, 0.3),
  repetitionPenalty: fc.constantFrom(1, 1.3, 0.8),
  seed: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
})

const logitsOf = (length: number, seed: number): Float32Array => Float32Array.from({ length }, (_, i) => 6 * uniformAt(seed, i) + (i % 7 === 0 ? 2 : -1))

/** Straight from the definitions, float64, whole vocabulary. */
const reference = (logits: Float32Array, history: readonly number[], sampling: Sampling, position: number): number => {
  const used = new Set(history)
  const values = Array.from(logits, (value, id) => (!used.has(id) ? value : Math.fround(value > 0 ? value / sampling.repetitionPenalty : value * sampling.repetitionPenalty)))
  const order = values.map((value, id) => ({ value, id })).toSorted((a, b) => b.value - a.value || a.id - b.id)
  if (sampling.temperature === 0) return order[0].id
  let kept = sampling.topK > 0 ? order.slice(0, sampling.topK) : order
  const weight = ({ value }: { value: number }): number => Math.exp((value - order[0].value) / sampling.temperature)
  const total = kept.reduce((sum, one) => sum + weight(one), 0)
  let reached = 0
  kept = kept.filter((one) => {
    const before = reached
    reached += weight(one) / total
    return sampling.topP >= 1 || before < sampling.topP
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

const draw = (logits: Float32Array, ranks: number, { history, sampling, position }: { history: readonly number[]; sampling: Sampling; position: number }): number => {
  const candidates = split(logits, ranks).map(({ start, part }): Candidates => decodeCandidates(encodeCandidates(topCandidates(part, start, { count: candidateCount(sampling), history, sampling }))))
  return sample(candidates, sampling, position).id
}

test('sampler: equals the float64 reference, however the vocabulary is split', () => {
  let differences = 0
  let draws = 0
  fc.assert(
    fc.property(samplings, fc.integer({ min: 40, max: 900 }), fc.integer({ min: 1, max: 1e6 }), fc.array(fc.integer({ min: 0, max: 39 }), { maxLength: 20 }), (sampling, length, seed, history) => {
      const logits = logitsOf(length, seed)
      const want = reference(logits, history, sampling, seed % 1000)
      for (const ranks of [1, 2, 3, 5]) {
        draws++
        if (draw(logits, ranks, { history, sampling, position: seed % 1000 }) !== want) differences++
      }
    }),
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
  for (let position = 0; position < draws; position++) counts[draw(logits, 2, { history: [], position, sampling: { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 5 } })]++
  const chiSquare = counts.reduce((sum, count, id) => sum + (count - (draws * weights[id]) / total) ** 2 / ((draws * weights[id]) / total), 0)
  assert.ok(chiSquare < 16.3, `chi-square ${chiSquare} with 3 degrees of freedom`) // 0.1 % of honest samplers exceed 16.3
})

test('sampler: equal logits fall to the lower id', () => {
  const sampling: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 }
  assert.equal(draw(Float32Array.of(3, 5, 5, 5), 2, { history: [], sampling, position: 0 }), 1)
})

test('sampler: a logit that is not a number is an error, not a token', () => {
  const sampling: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 }
  assert.throws(() => topCandidates(Float32Array.of(1, NaN, 2), 0, { count: 1, history: [], sampling }), { code: 'backendFailed' })
})

test('candidates: malformed bytes are refused', () => {
  const good = encodeCandidates({ ids: Uint32Array.of(1, 2), logits: Float32Array.of(3, 4), logSumExp: 5 })
  for (const bytes of [new Uint8Array(0), new Uint8Array(7), good.subarray(0, 20), Uint8Array.from([255, 255, 255, 255, 0, 0, 0, 0])]) assert.throws(() => decodeCandidates(bytes), { code: 'frameInvalid' })
})

test('random: Philox4x32-10 known answers', () => {
  // from the test vectors of the authors' Random123 library (kat_vectors)
  assert.deepEqual(philox4x32([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
  const ones = 0xffffffff
  assert.deepEqual(philox4x32([ones, ones, ones, ones], [ones, ones]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd])
  assert.deepEqual(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1])
})
