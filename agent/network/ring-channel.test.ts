/** The channel over libp2p, real sockets, keeps the contract of channels. */
import { test, type TestContext } from 'node:test'
import { channelContract, type MakeChannels } from '../channel/test/channel-contract.ts'
import { createTestPool } from './test/pool-of-nodes.ts'

const makeIn =
  (t: TestContext): MakeChannels =>
  async (worldSize, options) => {
    const pool = await createTestPool(worldSize, options)
    t.after(() => pool.stop())
    const members = Array.from({ length: worldSize }, (_, index) => index)
    const channels = await pool.connect(pool.ring(members), members)
    t.after(() => Promise.all(channels.map((channel) => channel.close())))
    return { channels, kill: (rank) => pool.nodes[rank].node.stop() }
  }

for (const [fact, check] of Object.entries(channelContract)) test(`libp2p channel: ${fact}`, (t) => check(makeIn(t)))
