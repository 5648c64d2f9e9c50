import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { agreedTokens, billedTokens, disputeOf } from './agreement.ts'

const counts = fc.array(fc.integer({ min: 1, max: 2 ** 32 - 1 }), { maxLength: 9 })

test('agreement: the middle number counts, of two the lower', () => {
  for (const [signed, agreed] of [
    [[], undefined],
    [[5], 5],
    [[9, 5], 5],
    [[5, 9, 7], 7],
    [[9, 100, 5, 7], 7],
    [[64, 571, 64], 64],
  ] as const) {
    assert.equal(agreedTokens(signed), agreed)
  }
})

test('agreement: what more than half say is billed, whatever the others sign and rank 0 claims', () => {
  const most = fc.tuple(fc.integer({ min: 1, max: 1e6 }), counts, fc.nat(), fc.nat(2 ** 32 - 1))
  fc.assert(
    fc.property(most, ([truth, lies, seed, claimed]) => {
      const signed = [...lies, ...Array.from({ length: lies.length + 1 }, () => truth)]
      const turn = seed % signed.length
      const bill = billedTokens(claimed, [...signed.slice(turn), ...signed.slice(0, turn)])
      assert.equal(bill, claimed > truth ? truth + 1 : truth)
    }),
  )
})

test('agreement: a bill is stable, and never above what one of two admits', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 32 - 1), counts, (claimed, signed) => {
      const bill = billedTokens(claimed, signed)
      assert.equal(billedTokens(bill, signed), bill)
      if (signed.length === 0) assert.equal(bill, claimed)
      if (signed.length === 2) assert.ok(bill <= Math.min(...signed) + 1)
    }),
  )
})

test('agreement: who stands against most is named; where nobody has most, all are', () => {
  for (const [signed, dispute] of [
    [[], undefined],
    [[64], undefined],
    [[64, 64, 64], undefined],
    [[63, 64, 64], undefined],
    [[64, 65], undefined],
    [[571, 64, 64], { by: [0], undecided: false }],
    [[64, 1, 64], { by: [1], undecided: false }],
    [[64, 66, 64], { by: [1], undecided: false }],
    [[571, 64], { by: [0, 1], undecided: true }],
    [[1, 50, 99], { by: [0, 1, 2], undecided: true }],
    [[9, 9, 5, 5], { by: [0, 1, 2, 3], undecided: true }],
    [[9, 5, 5, 5, 7], { by: [0, 4], undecided: false }],
  ] as const)
    assert.deepEqual(disputeOf(signed), dispute, signed.join())
})
