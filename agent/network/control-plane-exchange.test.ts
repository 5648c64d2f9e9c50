/** What members tell each other of their control plane, over real sockets. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Connection } from '@libp2p/interface'
import { newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { readPin, signPin } from '../../shared/identity/control-plane-pin.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { silentLogger } from '../../shared/log.ts'
import { encodeCbor } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/limits.ts'
import { readMessage, sendMessage } from '../../shared/wire/message-stream.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { eventually } from '../../test/support/processes.ts'
import { ControlPlaneExchange } from './control-plane-exchange.ts'
import { createTestPool, type TestNode, type TestPool } from './test/pool-of-nodes.ts'

interface Speaker {
  readonly exchange: ControlPlaneExchange
  pin: string | undefined
  answered: number
}

const id = newControlPlaneKey().id

/** A node that takes every pin of its pool with a higher number. */
const speakerOn = ({ node, gate }: TestNode, { root }: TestPool, urls: readonly string[]): Speaker => {
  const numberOf = (text: string | undefined): number =>
    text === undefined ? 0 : readPin(text, root.publicKey, Date.now()).number
  const exchange = new ControlPlaneExchange({
    node,
    gate,
    logger: silentLogger(),
    answer: () => {
      speaker.answered++
      return Promise.resolve(urls)
    },
    pinOf: () => speaker.pin,
    onPin: (_, text) => {
      if (numberOf(text) > numberOf(speaker.pin)) speaker.pin = text
    },
  })
  const speaker: Speaker = { exchange, pin: undefined, answered: 0 }
  return speaker
}

const twoSpeakers = async (
  t: TestContext,
): Promise<{ pool: TestPool; a: Speaker; b: Speaker; connection: Connection }> => {
  const pool = await createTestPool(2)
  t.after(() => pool.stop())
  const [a, b] = [
    speakerOn(pool.nodes[0], pool, ['https://10.0.0.1:8080']),
    speakerOn(pool.nodes[1], pool, ['https://10.0.0.2:8080', 'https://plane.example']),
  ]
  const connection = await pool.nodes[0].node.libp2p.dial(pool.nodes[1].node.libp2p.getMultiaddrs())
  return { pool, a, b, connection }
}

const enter = ({ nodes, poolId }: TestPool, connection: Connection): Promise<void> =>
  nodes[0].gate.enter(connection, poolId, AbortSignal.timeout(60_000))

test('exchange: the newer pin is on both sides afterwards, whoever had it', { timeout: 300_000 }, async (t) => {
  const { pool, a, b, connection } = await twoSpeakers(t)
  await enter(pool, connection)
  const pin = (after: number): string => signPin(pool.root, { after, controlPlaneId: id }, Date.now())
  a.pin = pin(0)
  assert.deepEqual(await a.exchange.ask(connection, pool.poolId), ['https://10.0.0.2:8080', 'https://plane.example'])
  assert.equal(b.pin, a.pin)
  const newer = (b.pin = pin(1))
  await a.exchange.ask(connection, pool.poolId)
  assert.equal(a.pin, newer)
  // what is not signed changes nothing, and costs neither the answer nor the connection
  a.pin = signPin(newKeyPair(), { after: 8, controlPlaneId: id }, Date.now())
  assert.equal((await a.exchange.ask(connection, pool.poolId)).length, 2)
  assert.equal(b.pin, newer)
  assert.equal(connection.status, 'open')
})

test(
  'exchange: before the gate no byte is read, and a member is answered for its own pools alone',
  { timeout: 300_000 },
  async (t) => {
    const { pool, b, connection } = await twoSpeakers(t)
    const stream = await connection.newStream(protocols.controlPlane)
    const begin = Date.now()
    // half of a message: who reads first waits for the rest of it
    try {
      stream.send(Uint8Array.from([200, 0, 0, 0, 1]))
    } catch {
      // reset already
    }
    await eventually(2000, 'the stream of a stranger is gone', () => (stream.status === 'open' ? undefined : true))
    assert.ok(Date.now() - begin < limits.gateMs - 500, 'not by the deadline of who reads first')
    await enter(pool, connection)
    const other = await connection.newStream(protocols.controlPlane)
    sendMessage(other, encodeCbor({ poolId: 'f'.repeat(64) }))
    await eventually(2000, 'a question on another pool is not answered', () =>
      other.status === 'open' ? undefined : true,
    )
    assert.equal(b.answered, 0)
  },
)

test('exchange: an answer with more addresses than a member may tell is no answer', { timeout: 300_000 }, async (t) => {
  const pool = await createTestPool(2)
  t.after(() => pool.stop())
  const urls = Array.from({ length: limits.announcedControlPlanes + 1 }, (_, index) => `https://10.0.1.${index}:8080`)
  let told = urls
  await pool.nodes[1].node.libp2p.handle(protocols.controlPlane, async (stream) => {
    await readMessage(stream, limits.gateBytes, AbortSignal.timeout(60_000))
    sendMessage(stream, encodeCbor({ urls: told }))
  })
  const { exchange } = speakerOn(pool.nodes[0], pool, [])
  const connection = await pool.nodes[0].node.libp2p.dial(pool.nodes[1].node.libp2p.getMultiaddrs())
  await enter(pool, connection)
  assert.deepEqual(await exchange.ask(connection, pool.poolId), [])
  told = urls.slice(1)
  assert.equal((await exchange.ask(connection, pool.poolId)).length, limits.announcedControlPlanes)
})
