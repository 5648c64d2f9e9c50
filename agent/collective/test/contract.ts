/** What every collective must do, whatever carries its frames. */
import assert from 'node:assert/strict'
import type { Collective } from '../collective.ts'

const epsilon = 2 ** -23

/** Reproducible values of mixed size and sign. */
export const testData = (length: number, rank: number, seed = 1): Float32Array => {
  let state = Math.imul(seed * 977 + rank * 131 + 7, 0x9e3779b9) >>> 0 || 1
  return Float32Array.from({ length }, () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state | 0) / 2 ** 28
  })
}

const bits = (data: Float32Array): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength)

/** Equal bits on all ranks, and the exact sum up to rounding. */
export const checkAllReduce = async (ranks: readonly Collective[], length: number, seed = 1): Promise<void> => {
  const inputs = ranks.map(({ rank }) => testData(length, rank, seed))
  const data = inputs.map((input) => Float32Array.from(input))
  await Promise.all(
    ranks.map((collective, index) => collective.allReduce(data[index], { job: seed, step: length, operation: 0 })),
  )
  for (const result of data) assert.ok(bits(result).equals(bits(data[0])), 'ranks differ')
  for (let i = 0; i < length; i++) {
    const exact = inputs.reduce((sum, input) => sum + input[i], 0)
    const size = inputs.reduce((sum, input) => sum + Math.abs(input[i]), 0)
    if (Math.abs(data[0][i] - exact) > ranks.length * epsilon * size)
      assert.fail(`element ${i}: ${data[0][i]}, want ${exact}`)
  }
}

/** Lengths around the borders of segments. */
export const contractLengths = (worldSize: number): number[] => [
  ...new Set([0, 1, 7, worldSize - 1, worldSize, worldSize + 1, 1000]),
]

export const checkCollective = async (ranks: readonly Collective[]): Promise<void> => {
  for (const length of contractLengths(ranks.length)) await checkAllReduce(ranks, length)

  // two jobs at once: their frames cross, the tags keep them apart
  const jobs = [3, 4].map((job) => ({ job, data: ranks.map(({ rank }) => testData(100, rank, job)) }))
  await Promise.all(
    jobs.flatMap(({ job, data }) =>
      ranks.map((collective, index) => collective.allReduce(data[index], { job, step: 0, operation: 5 })),
    ),
  )
  for (const { job, data } of jobs) {
    const exact = ranks.reduce((sum, { rank }) => sum + testData(100, rank, job)[50], 0)
    for (const result of data) assert.ok(Math.abs(result[50] - exact) < 1e-4)
  }
}
