/** Two agents that cannot dial each other directly run an all-reduce over a relay process. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { createRingCollective } from '../agent/collective/ring.ts'
import { checkAllReduce } from '../agent/collective/contract.ts'
import { createTestPool } from '../agent/network/test/pool-of-nodes.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, startReady } from './support/processes.ts'

test('relay: members that listen nowhere reserve a slot, pass the gate and sum over the circuit', { timeout: 60_000 }, async (t) => {
  const { info } = await startReady(t, { name: 'relay', program: 'relay', args: ['--json', '--host', '127.0.0.1', '--port', '0'], home: join(temporaryFolder(t), 'relay') })
  const [relay] = info.addresses as string[]
  const pool = await createTestPool(2, { listen: [], relays: [relay] })
  t.after(() => pool.stop())
  await eventually(20_000, 'both hold a slot', () => (pool.nodes.every(({ node }) => node.relays()[0].reserved) ? true : undefined))
  for (const { node } of pool.nodes) assert.ok(node.addresses().every((address) => address.includes('/p2p-circuit')), node.addresses().join())
  const channels = await pool.connect(pool.ring([0, 1]), [0, 1])
  t.after(() => Promise.all(channels.map((channel) => channel.close())))
  await checkAllReduce(channels.map((channel) => createRingCollective(channel)), 200_000)
})
