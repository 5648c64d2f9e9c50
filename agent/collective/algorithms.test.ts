/** Direct exchange, recursive doubling and the chooser keep the contract of collectives. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { MeshError } from '../../shared/errors.ts'
import { dtypes, frameHeaderBytes, phases } from '../../shared/wire/frame.ts'
import type { Channel } from '../channel/channel.ts'
import {
  algorithmFor,
  assumedFigures,
  choose,
  type CollectiveChoice,
  costOf,
  createCollective,
  predict,
  slowestOf,
} from './chooser.ts'
import type { Collective } from './collective.ts'
import { checkAllReduce, checkCollective, testData } from './test/contract.ts'
import { type WireChoice, wireCodecs, wireTypes } from './wire-types.ts'
import { createMemoryChannels } from '../channel/test/memory-channel.ts'

const adjusted = (channel: Channel, algorithm: CollectiveChoice, wire: WireChoice = 'f32'): Collective => {
  const collective = createCollective(channel)
  collective.use({ algorithm, wire })
  return collective
}

for (const choice of ['auto', 'ring', 'direct', 'recursive-doubling'] as const) {
  for (const worldSize of [1, 2, 3, 4, 5, 6, 7, 8]) {
    test(`${choice} of ${worldSize}: keeps the contract of collectives`, async () => {
      const ranks = createMemoryChannels(worldSize).map((channel) => adjusted(channel, choice))
      await checkCollective(ranks)
      await checkAllReduce(ranks, 100_000)
    })
  }
  test(`${choice}: a silent rank is named when the step deadline passes`, async () => {
    const [first] = createMemoryChannels(2, 50).map((channel) => adjusted(channel, choice))
    await assert.rejects(first.allReduce(new Float32Array(4), { job: 1, step: 0, operation: 0 }), {
      code: 'collectiveTimeout',
    })
  })
}

test('chooser: takes the least predicted time', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 64 }),
      fc.integer({ min: 0, max: 1e8 }),
      fc.double({ min: 1e-5, max: 0.2, noNaN: true }),
      fc.double({ min: 1e-10, max: 1e-6, noNaN: true }),
      (worldSize, bytes, alpha, beta) => {
        const best = predict(choose(worldSize, bytes, { alpha, beta }), worldSize, bytes, { alpha, beta })
        for (const other of ['ring', 'direct', 'recursive-doubling'] as const)
          assert.ok(best <= predict(other, worldSize, bytes, { alpha, beta }))
      },
    ),
  )
})

test('chooser: decode-sized messages go directly, prefill-sized ones around the ring', () => {
  const wide = { alpha: 0.01, beta: 1 / 100e6 }
  assert.equal(choose(4, 8192, wide), 'direct')
  assert.equal(choose(4, 64e6, wide), 'ring')
})

/**
 * Round trip in ms, bytes a second, ranks -> algorithm for a decode message of 8 KiB and a prefill message of 2 MiB.
 */
const networks = [
  {
    name: 'wired local network',
    link: { roundTripMs: 0.3, bytesPerSecond: 110e6 },
    worldSize: 2,
    decode: 'direct',
    prefill: 'direct',
  },
  {
    name: 'wired local network',
    link: { roundTripMs: 0.3, bytesPerSecond: 110e6 },
    worldSize: 4,
    decode: 'direct',
    prefill: 'ring',
  },
  { name: 'Wi-Fi', link: { roundTripMs: 4, bytesPerSecond: 5e6 }, worldSize: 3, decode: 'direct', prefill: 'ring' },
  { name: 'Wi-Fi', link: { roundTripMs: 4, bytesPerSecond: 5e6 }, worldSize: 4, decode: 'direct', prefill: 'ring' },
  {
    name: 'Wi-Fi',
    link: { roundTripMs: 4, bytesPerSecond: 5e6 },
    worldSize: 8,
    decode: 'recursive-doubling',
    prefill: 'ring',
  },
  {
    name: '20 ms over an upload of 20 Mbit/s',
    link: { roundTripMs: 20, bytesPerSecond: 2.5e6 },
    worldSize: 4,
    decode: 'direct',
    prefill: 'ring',
  },
  {
    name: '20 ms over fibre',
    link: { roundTripMs: 20, bytesPerSecond: 125e6 },
    worldSize: 4,
    decode: 'direct',
    prefill: 'recursive-doubling',
  },
] as const

for (const { name, link, worldSize, decode, prefill } of networks) {
  test(`chooser: ${worldSize} ranks, ${name}: ${decode} for decode, ${prefill} for prefill`, () => {
    const settings = { algorithm: 'auto', wire: 'f32', link: costOf(link) } as const
    assert.equal(algorithmFor(settings, worldSize, 8 * 2 ** 10), decode)
    assert.equal(algorithmFor(settings, worldSize, 2 * 2 ** 20), prefill)
    assert.equal(
      algorithmFor({ ...settings, algorithm: 'ring' }, worldSize, 8 * 2 ** 10),
      'ring',
      'what was asked for counts',
    )
  })
}

test('chooser: the longest round trip and the lowest bandwidth of all links count, and a local network where there are none', () => {
  assert.deepEqual(
    slowestOf([
      { roundTripMs: 30, bytesPerSecond: 9e6 },
      { roundTripMs: 1, bytesPerSecond: 1e6 },
    ]),
    { roundTripMs: 30, bytesPerSecond: 1e6 },
  )
  assert.deepEqual(slowestOf([]), assumedFigures)
})

test('chooser: what rank 0 announces decides which frames are sent', async () => {
  const bytesFor = async (link: Parameters<typeof costOf>[0]): Promise<number> => {
    const channels = createMemoryChannels(4)
    const ranks = channels.map((channel) => createCollective(channel))
    for (const collective of ranks) collective.use({ algorithm: 'auto', wire: 'f32', link: costOf(link) })
    await checkAllReduce(ranks, 100_000)
    return channels[0].bytesSent
  }
  const [short, long] = [
    await bytesFor({ roundTripMs: 0.1, bytesPerSecond: 1e6 }),
    await bytesFor({ roundTripMs: 1000, bytesPerSecond: 1e9 }),
  ]
  assert.ok(Math.abs(short / 600_000 - 1) < 0.01, `${short}: around the ring`)
  assert.ok(Math.abs(long / 1_200_000 - 1) < 0.01, `${long}: directly`)
})

/** How far a value may be off that travels, element by element. */
const lost: Readonly<Record<'f16' | 'q8', (part: Float32Array, i: number) => number>> = {
  f16: (part, i) => Math.abs(part[i]) * 2 ** -11,
  q8: (part, i) => Math.max(...part.subarray(i - (i % 64), i - (i % 64) + 64).map(Math.abs)) / 254,
}

/** Sums of absolute values: what may travel is never larger. */
const sizesOf = (inputs: readonly Float32Array[]): Float32Array =>
  inputs[0].map((_, i) => inputs.reduce((sum, input) => sum + Math.abs(input[i]), 0))

for (const wire of ['f16', 'q8'] as const)
  for (const [algorithm, roundings] of [
    ['direct', () => 1],
    ['ring', (worldSize: number) => worldSize],
  ] as const) {
    test(`${wire} on the wire, ${algorithm}: identical bits on all ranks, off by no more than it says`, async () => {
      for (const worldSize of [2, 3, 5]) {
        const ranks = createMemoryChannels(worldSize).map((channel) => adjusted(channel, algorithm, wire))
        // twice, with other values: memory of the first is used again
        for (const seed of [1, 2]) {
          // blocks are the same in every segment
          const inputs = ranks.map(({ rank }) => testData(64 * 301 * worldSize, rank, seed))
          const data = inputs.map((input) => Float32Array.from(input))
          await Promise.all(
            ranks.map((collective, rank) => collective.allReduce(data[rank], { job: 1, step: seed, operation: 0 })),
          )
          for (const result of data) assert.deepEqual(result, data[0])
          const sizes = sizesOf(inputs)
          for (let i = 0; i < data[0].length; i++) {
            const exact = inputs.reduce((sum, input) => sum + input[i], 0)
            const allowed =
              algorithm === 'direct'
                ? inputs.reduce((sum, input) => sum + lost[wire](input, i), 0)
                : roundings(worldSize) * lost[wire](sizes, i)
            if (Math.abs(data[0][i] - exact) > allowed * 1.02 + 1e-5)
              assert.fail(`${data[0][i]}, want ${exact} within ${allowed}`)
          }
        }
      }
    })
  }

test('auto on the wire: a single token travels as f32, a prompt as f16', async () => {
  for (const [length, bytes] of [
    [2048, 4 * 2048],
    [64 * 2048, 2 * 64 * 2048],
  ]) {
    const channels = createMemoryChannels(2)
    const ranks = channels.map((channel) => adjusted(channel, 'auto', 'auto'))
    await Promise.all(
      ranks.map((collective) => collective.allReduce(new Float32Array(length), { job: 1, step: 0, operation: 0 })),
    )
    assert.equal(channels[0].bytesSent, bytes + frameHeaderBytes)
  }
})

for (const wire of ['f16', 'q8'] as const) {
  test(`${wire} on the wire: zeros stay zeros`, async () => {
    const ranks = createMemoryChannels(2).map((channel) => adjusted(channel, 'direct', wire))
    const data = ranks.map(() => Float32Array.from({ length: 192 }, (_, i) => (i < 64 ? 0 : 1)))
    await Promise.all(
      ranks.map((collective, rank) => collective.allReduce(data[rank], { job: 1, step: 0, operation: 0 })),
    )
    assert.deepEqual(data[0], data[1])
    assert.ok(data[0].subarray(0, 64).every((value) => value === 0))
  })
}

/** Lengths of whole words and not, of one block of q8 and several. */
const strangeLengths = [1, 2, 3, 63, 64, 65, 130, 1000]

test('what is not finite or absurd is found in every place, and nothing else is', () => {
  for (const wire of wireTypes) {
    const codec = wireCodecs[wire]
    const encode = (data: Float32Array): Uint8Array =>
      codec.encode(
        data,
        () => new Uint8Array(new ArrayBuffer((codec.size(data.length) + 3) & ~3), 0, codec.size(data.length)),
      )
    for (const length of strangeLengths) {
      for (const value of [0, -0, 1, -1, 65_504, -65_504, 1e-45, 6e-8])
        assert.ok(codec.isPlausible(encode(new Float32Array(length).fill(value))), `${wire} ${length} ${value}`)
      if (wire !== 'f16')
        for (const value of [1.6e7, -1.6e7]) assert.ok(codec.isPlausible(encode(new Float32Array(length).fill(value))))
      for (const value of [NaN, Infinity, -Infinity, 2 ** 24, -(2 ** 24), 3e38]) {
        for (let at = 0; at < length; at++) {
          const data = new Float32Array(length).fill(-1)
          data[at] = value
          assert.ok(!codec.isPlausible(encode(data)), `${wire} ${length} ${value} at ${at}`)
        }
      }
    }
  }
})

for (const algorithm of ['ring', 'direct', 'recursive-doubling'] as const) {
  for (const wire of algorithm === 'recursive-doubling' ? (['f32'] as const) : wireTypes) {
    const id = { job: 1, step: 0, operation: 0 }
    const codec = wireCodecs[wire]

    test(`${algorithm} over ${wire}: a rank whose part is not finite fails by itself, and sends nothing of it`, async () => {
      for (const value of [NaN, Infinity, -Infinity, 1e9]) {
        const [first, second] = createMemoryChannels(2, 300)
        const [own, other] = [adjusted(first, algorithm, wire), adjusted(second, algorithm, wire)]
        const waiting = assert.rejects(other.allReduce(new Float32Array(200), id), { code: 'collectiveTimeout' })
        await assert.rejects(own.allReduce(new Float32Array(200).fill(value), id), {
          code: 'backendFailed',
          message: /no finite number/,
        })
        await waiting
      }
    })

    test(`${algorithm} over ${wire}: a rank that sends what is not finite, too little or another type is named`, async () => {
      const data = new Float32Array(200)
      // rank 1 by hand, in the first hop: what the others do not do before they send
      const length = algorithm === 'ring' ? 100 : 200
      const tag = {
        ...id,
        ...(algorithm === 'ring'
          ? { phase: phases.reduceScatter, chunk: 0 }
          : { phase: phases.exchange, chunk: algorithm === 'direct' ? 0 : 1 }),
      }
      const bad = codec.encode(new Float32Array(length).fill(NaN), () => new Uint8Array(codec.size(length)))
      for (const [payload, problem] of [
        [{ dtype: codec.dtype, bytes: bad }, /no finite number/],
        [{ dtype: codec.dtype, bytes: bad.subarray(0, 8) }, /want type/],
        [{ dtype: dtypes.bf16, bytes: bad }, /want type/],
      ] as const) {
        const [first, second] = createMemoryChannels(2)
        await second.send(0, tag, payload)
        await assert.rejects(
          adjusted(first, algorithm, wire).allReduce(data, id),
          (error: MeshError) => error.code === 'peerInvalid' && error.fields.rank === 1 && problem.test(error.message),
        )
      }
    })
  }
}

test('a part of another type or length is refused', async () => {
  const [one, other] = createMemoryChannels(2)
  const summing = adjusted(one, 'direct', 'q8')
  await other.send(
    0,
    { job: 1, step: 0, operation: 0, phase: phases.exchange, chunk: 0 },
    { dtype: dtypes.f16, bytes: new Uint8Array(128) },
  )
  await assert.rejects(summing.allReduce(new Float32Array(64), { job: 1, step: 0, operation: 0 }), {
    code: 'peerInvalid',
    fields: { rank: 1, problem: 'a tensor of type 2 and 128 bytes, want type 4 and 64 elements' },
  })
})
