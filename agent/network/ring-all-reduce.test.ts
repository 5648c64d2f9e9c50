/** Ring all-reduce over real libp2p sockets. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import type { Channel } from '../channel/channel.ts'
import { checkAllReduce, checkCollective } from '../collective/test/contract.ts'
import { createRingCollective } from '../collective/ring.ts'
import { createTestPool, type TestPool } from './test/pool-of-nodes.ts'

describe('ring all-reduce over libp2p', () => {
  let pool: TestPool
  before(async () => {
    pool = await createTestPool(8)
  })
  after(() => pool.stop())

  const withRing = async (
    worldSize: number,
    epoch: number,
    action: (channels: Channel[]) => Promise<void>,
  ): Promise<void> => {
    const members = Array.from({ length: worldSize }, (_, index) => index)
    const channels = await pool.connect(pool.ring(members, epoch), members)
    try {
      await action(channels)
    } finally {
      await Promise.all(channels.map((channel) => channel.close()))
    }
  }

  for (let worldSize = 1; worldSize <= 8; worldSize++) {
    it(`${worldSize} ranks: bit-identical and equal to the exact sum for 0, 1, 7 and 1e6 elements`, async () => {
      await withRing(worldSize, worldSize, async (channels) => {
        const ranks = channels.map((channel) => createRingCollective(channel))
        await checkCollective(ranks)
        for (const length of [0, 1, 7, 1_000_000]) await checkAllReduce(ranks, length)
      })
    })
  }

  it('any length and data, 3 ranks', async () => {
    await withRing(3, 20, async (channels) => {
      const ranks = channels.map((channel) => createRingCollective(channel))
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 100, max: 1e9 }), (length, seed) =>
          checkAllReduce(ranks, length, seed),
        ),
        { numRuns: 60 },
      )
    })
  })

  it('each rank sends 2 (P - 1) / P of the data', async () => {
    await withRing(4, 21, async (channels) => {
      const sentBefore = channels[0].bytesSent
      await checkAllReduce(
        channels.map((channel) => createRingCollective(channel)),
        1_000_000,
      )
      const sent = channels[0].bytesSent - sentBefore
      assert.ok(Math.abs(sent / (2 * 0.75 * 4e6) - 1) < 0.01, `${sent} bytes`)
    })
  })
})
