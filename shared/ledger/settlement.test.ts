import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { limits } from '../limits.ts'
import { dealOut, earningsOf, priceOf, type RankWork } from './settlement.ts'

const ranks: fc.Arbitrary<RankWork[]> = fc.array(
  fc.record({
    weights: fc.integer({ min: 0, max: 10 ** 11 }),
    tokens: fc.integer({ min: 0, max: 10_000 }),
    computeUs: fc.integer({ min: 0, max: 10 ** 10 }),
  }),
  { minLength: 1, maxLength: 64 },
)

test('settlement: what is earned is what is paid, to the last credit', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: limits.jobCredits }),
      fc.integer({ min: 0, max: 10_000 }),
      ranks,
      (price, tokens, work) => {
        const earned = earningsOf(price, tokens, work)
        assert.equal(
          earned.reduce((sum, amount) => sum + amount, 0),
          price,
        )
        assert.ok(earned.every((amount) => Number.isSafeInteger(amount) && amount >= 0))
      },
    ),
  )
})

test('settlement: dealt out in proportion, off by less than one credit', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 10 ** 12 }),
      fc.array(fc.bigInt({ min: 0n, max: 10n ** 24n }), { minLength: 1, maxLength: 64 }),
      (units, weights) => {
        const total = weights.reduce((sum, weight) => sum + weight, 0n)
        if (total === 0n) return
        for (const [index, amount] of dealOut(units, weights).entries()) {
          const difference = BigInt(amount) * total - BigInt(units) * weights[index]
          assert.ok(difference < total && -difference < total)
        }
      },
    ),
  )
})

test('settlement: remainders go to the largest, ties to the lower rank', () => {
  assert.deepEqual(dealOut(10, [1n, 1n, 1n]), [4, 3, 3])
  assert.deepEqual(dealOut(10, [15n, 15n, 70n]), [2, 1, 7])
  assert.deepEqual(dealOut(5, [0n, 0n]), [5, 0])
  assert.deepEqual(dealOut(0, [1n, 2n]), [0, 0])
})

test('settlement: a price is millions of weight-tokens, rounded up, and capped', () => {
  for (const [weights, tokens, price] of [
    [1_000_000, 1, 1],
    [1_000_001, 1, 2],
    [6_000_000, 100, 600],
    [70_000_000_000, 1_000_000, 7e10],
    [0, 5, 0],
    [5, 0, 0],
  ] as const)
    assert.equal(priceOf(weights, tokens), price)
  assert.equal(priceOf(Number.MAX_SAFE_INTEGER, 2 ** 32 - 1), limits.jobCredits)
})

const done = (weights: number, computeUs: number, tokens = 100): RankWork => ({ weights, tokens, computeUs })

test('settlement: shards of one size earn the same unless one was slow; half is the least that it can lose', () => {
  const cases: readonly [work: RankWork[], want: number[]][] = [
    [
      [done(5, 1000), done(5, 1000)],
      [500, 500],
    ],
    [
      [done(7, 1000), done(3, 1000)],
      [700, 300],
    ],
    [
      [done(5, 0), done(5, 9000)],
      [500, 500],
    ], // one alone measured: nothing to compare with
    [
      [done(1, 1000), done(1, 1000), done(1, 2000)],
      [400, 400, 200],
    ],
    [
      [done(1, 1000), done(1, 1000), done(1, 90_000)],
      [400, 400, 200],
    ],
    [
      [done(1, 1), done(1, 1000), done(1, 1000)],
      [334, 333, 333],
    ], // being faster than the plan earns nothing more
    [
      [done(5, 1000), done(5, 1000, 50)],
      [667, 333],
    ],
    [
      [done(5, 1000), done(5, 1000, 4_000_000)],
      [500, 500],
    ], // tokens beyond those of the job do not count
    [
      [done(3, 1000, 0), done(1, 1000, 0)],
      [750, 250],
    ],
    [
      [done(3, 1000), done(1, 1000, 0)],
      [1000, 0],
    ], // who claims no token has none where others do
    [
      [done(5, 1000), done(5, 2000)],
      [571, 429],
    ], // the middle of two is between them: 1500, so the slower one counts for three quarters
    [
      [done(5, 1), done(5, 4)],
      [667, 333],
    ], // rounded down: 2, not 3
  ]
  for (const [work, want] of cases) assert.deepEqual(earningsOf(1000, 100, work), want)
})

test('settlement: the pace is that of the middle rank, in whatever order ranks come', () => {
  const work = (times: readonly number[]): RankWork[] =>
    times.map((computeUs) => ({ weights: 1024, tokens: 1, computeUs }))
  // 1024 parts for the two that keep up, 3/4 of it for the one that takes 4/3 of the middle one
  for (const times of [
    [300, 1, 400],
    [400, 300, 1],
    [1, 400, 300],
  ])
    assert.deepEqual(
      earningsOf(2816, 1, work(times)),
      times.map((time) => (time === 400 ? 768 : 1024)),
      times.join(),
    )
  // of two the middle lies between them: 400
  assert.deepEqual(earningsOf(1843, 1, work([500, 300])), [819, 1024])
})
