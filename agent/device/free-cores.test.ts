import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type CoreView, fairShare, fastestThreads, type OtherUnit, ThreadChoice } from './free-cores.ts'

describe('fair share of cores', () => {
  for (const [cores, own, others, want] of [
    [4, 4, [], 4],
    [4, 2, [], 2],
    [4, 4, [4], 2],
    [4, 4, [1], 3],
    [4, 1, [4], 1],
    [6, 4, [1, 4], 2.5],
    [8, 3, [1, 8], 3],
    [2, 4, [4, 4, 4], 0.5],
    [-1, 4, [], -1],
  ] as const)
    it(`${own} wanted beside ${others.join(', ') || 'nobody'} on ${cores} cores: ${want}`, () =>
      assert.equal(fairShare(cores, own, others), want))

  it('all shares together are the cores or all that is wanted, and nobody gets more than another who wants more', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 64 }),
        fc.array(fc.integer({ min: 1, max: 32 }), { minLength: 1, maxLength: 6 }),
        (cores, wanted) => {
          const shares = wanted.map((own, index) => fairShare(cores, own, wanted.toSpliced(index, 1)))
          assert.ok(
            Math.abs(
              shares.reduce((a, b) => a + b, 0) -
                Math.min(
                  cores,
                  wanted.reduce((a, b) => a + b, 0),
                ),
            ) < 1e-9,
          )
          for (const [a, share] of shares.entries())
            for (const [b, other] of shares.entries())
              assert.ok(share >= other - 1e-9 || share === wanted[a] || wanted[a] < wanted[b])
        },
      ),
      { seed: 3 },
    )
  })
})

describe('threads on so many free cores', () => {
  for (const [cores, want] of [
    [-1, 1],
    [0, 1],
    [0.4, 1],
    [1, 1],
    [1.5, 1],
    [1.51, 2],
    [2, 2],
    [3.7, 3],
    [3.8, 4],
    [15.9, 15],
    [16, 16],
  ] as const) {
    it(`${cores}: ${want}`, () => assert.equal(fastestThreads(cores), want))
  }
})

/** A machine of `cores` that is looked at every half second. */
const watch = (wanted: number, cores: number) => {
  const choice = new ThreadChoice(wanted)
  let now = 0
  return (
    view: Partial<CoreView> & { readonly foreign?: number; readonly others?: readonly OtherUnit[] } = {},
  ): number => {
    now += 0.5
    return choice.update({
      now,
      bounds: [{ cores, foreign: view.foreign ?? 0, others: view.others ?? [] }],
      load: 1,
      ...view,
    })
  }
}
const times = <T>(count: number, action: () => T): T[] => Array.from({ length: count }, action)

describe('threads of a unit', () => {
  it('an idle machine: all cores, or as many as there is work for', () => {
    assert.equal(watch(9, 2)(), 2)
    assert.equal(watch(1, 8)(), 1)
    assert.equal(watch(3, 8)(), 3)
    assert.deepEqual(
      times(9, watch(16, 16)),
      times(9, () => 16),
    )
  })

  it('another unit is believed to work until it did nothing for two seconds while ours worked', () => {
    const look = watch(9, 2)
    const idle = [{ pid: 7, wanted: 9, load: 0.01 }]
    assert.equal(look({ others: [{ pid: 7, wanted: 9, load: undefined }] }), 1)
    assert.deepEqual(
      times(20, () => look({ others: idle, load: 0 })),
      times(20, () => 1),
    )
    // four half seconds of quiet, then two seconds of room
    assert.deepEqual(
      times(8, () => look({ others: idle })),
      [1, 1, 1, 1, 1, 1, 1, 2],
    )
    assert.deepEqual(
      times(9, () => look({ others: idle, load: 0 })),
      times(9, () => 2),
    )
    assert.equal(look({ others: [{ pid: 7, wanted: 9, load: 0.5 }] }), 1)
    assert.deepEqual(
      times(7, () => look({ others: idle })),
      times(7, () => 1),
    )
  })

  it('quiet seconds must come one after another', () => {
    const look = watch(9, 2)
    const at = (load: number): number => look({ others: [{ pid: 7, wanted: 9, load }] })
    for (let round = 0; round < 8; round++) assert.deepEqual([at(0), at(0), at(0), at(1)], [1, 1, 1, 1])
  })

  it('a unit that wants one thread leaves the others', () => {
    assert.equal(watch(9, 4)({ others: [{ pid: 7, wanted: 1, load: 1 }] }), 3)
    assert.equal(watch(1, 4)({ others: [{ pid: 7, wanted: 9, load: 3 }] }), 1)
  })

  it('an owner who begins to work gets the cores at once; they come back two seconds after he stopped', () => {
    const look = watch(9, 4)
    assert.deepEqual([look(), look({ foreign: 0.2 }), look({ foreign: 2 }), look({ foreign: 2 })], [4, 4, 2, 2])
    assert.deepEqual(times(5, look), [2, 2, 2, 2, 4])
  })

  it('what we wait for counts as wanted by others: two threads beside one loop show only half of it', () => {
    assert.equal(watch(9, 2)({ foreign: 0.5 }), 1)
    const look = watch(9, 2)
    assert.equal(look(), 2)
    assert.equal(look({ foreign: 0.45, wait: 0.05 }), 2)
    assert.equal(look({ foreign: 0.45, wait: 0.45 }), 1)
    // threads of ours that wait for each other are nobody's work
    const alone = watch(9, 2)
    assert.deepEqual(
      times(9, () => alone({ wait: 0.8 })),
      times(9, () => 2),
    )
  })

  it('what a unit takes that begins to work is not taken for the work of an owner', () => {
    const look = watch(16, 16)
    const other = (load: number): readonly OtherUnit[] => [{ pid: 7, wanted: 16, load }]
    for (let count = 0; count < 12; count++) look({ others: other(0) })
    assert.equal(look({ others: other(0) }), 16)
    assert.equal(look({ others: other(8), foreign: 6, wait: 8 }), 5)
    assert.equal(watch(16, 16)({ others: other(8), foreign: 1, wait: 0 }), 7)
  })

  it('load at a border changes nothing', () => {
    const look = watch(9, 2)
    look()
    assert.deepEqual(
      times(40, () => look({ foreign: Math.random() < 0.5 ? 0.42 : 0.58 })),
      times(40, () => 2),
    )
    look({ foreign: 2 })
    assert.deepEqual(
      times(40, () => look({ foreign: Math.random() < 0.5 ? 0.42 : 0.58 })),
      times(40, () => 1),
    )
  })

  it('the tightest bound decides: a quota of a control group as well as the machine', () => {
    const at = (quota: number, others: readonly OtherUnit[] = []): number =>
      new ThreadChoice(16).update({
        now: 0,
        bounds: [
          { cores: 16, foreign: 0, others },
          { cores: quota, foreign: 0, others: [] },
        ],
        load: 1,
      })
    assert.deepEqual([at(1.5), at(2), at(4), at(32)], [1, 2, 4, 16])
    assert.equal(at(12, [{ pid: 7, wanted: 16, load: 1 }]), 8)
  })
})
