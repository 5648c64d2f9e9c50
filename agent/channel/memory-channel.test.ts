import { test } from 'node:test'
import { channelContract, type MakeChannels } from './test/channel-contract.ts'
import { createMemoryChannels } from './test/memory-channel.ts'

const make: MakeChannels = async (worldSize, { stepTimeoutMs, earlyFrameBytes } = {}) => {
  const channels = createMemoryChannels(worldSize, stepTimeoutMs, earlyFrameBytes)
  return { channels, kill: (rank) => channels[rank].kill() }
}

for (const [fact, check] of Object.entries(channelContract)) test(`memory channel: ${fact}`, () => check(make))
