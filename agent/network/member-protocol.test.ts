/** What members ask each other, over real sockets: who is served, what is read, and how it ends. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Connection } from '@libp2p/interface'
import { Type } from 'typebox'
import { limits } from '../../shared/limits.ts'
import { silentLogger } from '../../shared/log.ts'
import { Hex64 } from '../../shared/schema/common.ts'
import { encodeCbor } from '../../shared/wire/envelope.ts'
import { sendMessage } from '../../shared/wire/message-stream.ts'
import { peerProtocols, protocolId, protocols } from '../../shared/wire/protocols.ts'
import { eventually } from '../../test/support/processes.ts'
import { ControlPlaneExchange } from './control-plane-exchange.ts'
import type { Member } from './member.ts'
import { answerMembers, askMember, type MemberProtocol, type Served, serveMembers } from './member-protocol.ts'
import { RenewalExchange } from './renewal-exchange.ts'
import { RevocationSpread } from './revocation-spread.ts'
import { createTestPool, type TestNode, type TestPool } from './test/pool-of-nodes.ts'

const Question = Type.Object({ poolId: Hex64, number: Type.Integer() })
const Answer = Type.Object({ double: Type.Integer() })

const doubling: MemberProtocol<typeof Question, typeof Answer> = {
  id: '/test/doubling/1.0.0',
  question: { schema: Question, bytes: 1000 },
  answer: { schema: Answer, bytes: 1000 },
  timeoutMs: 60_000,
  streamsAtOnce: 4,
  refusal: { level: 'debug', text: 'not doubled' },
}

interface Pair extends TestPool {
  /** From the first node to the second, which serves. */
  readonly connection: Connection
  readonly served: Served
  enter(): Promise<Member>
}

const createPair = async (t: TestContext): Promise<Pair> => {
  const pool = await createTestPool(2)
  t.after(() => pool.stop())
  const [from, to] = pool.nodes
  const connection = await from.node.libp2p.dial(to.node.libp2p.getMultiaddrs())
  const enter = async (): Promise<Member> => {
    await from.gate.enter(connection, pool.poolId, AbortSignal.timeout(60_000))
    const member = from.gate.memberOn(connection)
    assert.ok(member)
    return member
  }
  return { ...pool, connection, served: servedOn(to), enter }
}

const servedOn = ({ node, gate }: TestNode): Served => ({ node, gate, logger: silentLogger() })

/** Sends bytes on a stream of its own. @returns true once the other side has reset it */
const isReset = async (connection: Connection, id: string, bytes: Uint8Array): Promise<true> => {
  const stream = await connection.newStream(id)
  try {
    stream.send(bytes)
  } catch {
    // reset already
  }
  return eventually(3000, `the stream of ${id} is reset`, () => (stream.status === 'open' ? undefined : true))
}

/** The beginning of a message: who reads it waits for the rest, up to the deadline of the protocol. */
const beginning = Uint8Array.from([200, 0, 0, 0, 1])

test('member protocol: a member is answered, with who asked', { timeout: 300_000 }, async (t) => {
  const { served, poolId, nodes, enter } = await createPair(t)
  const asked: [number, string, boolean][] = []
  answerMembers(doubling, served, ({ number }, member) => {
    asked.push([number, member.connection.remotePeer.toString(), member.isOf(poolId)])
    return { double: 2 * number }
  })
  assert.deepEqual(await askMember(doubling, await enter(), { poolId, number: 21 }), { double: 42 })
  assert.deepEqual(asked, [[21, nodes[0].node.peerId, true]])
})

test('member protocol: of a stranger nothing is read, and nobody is told', { timeout: 300_000 }, async (t) => {
  const { served, poolId, connection, enter } = await createPair(t)
  let told = 0
  answerMembers(doubling, served, () => {
    told++
    return { double: 0 }
  })
  serveMembers({ ...doubling, id: '/test/raw/1.0.0' }, served, async () => void told++)
  const whole = encodeCbor({ poolId, number: 1 })
  const message = new Uint8Array([whole.length, 0, 0, 0, ...whole])
  for (const id of [doubling.id, '/test/raw/1.0.0'])
    for (const bytes of [beginning, message, new Uint8Array(500_000)]) await isReset(connection, id, bytes)
  assert.equal(told, 0)
  await enter()
  assert.equal(connection.status, 'open')
})

test(
  'member protocol: every protocol of agents but the gate is closed to strangers',
  { timeout: 300_000 },
  async (t) => {
    const { served, connection, nodes } = await createPair(t)
    const refused = (): never => assert.fail('a stranger was served')
    const speakers = [
      new ControlPlaneExchange({ ...served, answer: refused, pinOf: refused, onPin: refused }),
      new RenewalExchange({ ...served, now: Date.now, renew: refused }),
      new RevocationSpread({ ...served, textOf: refused, onList: refused }),
    ]
    assert.equal(speakers.length, 3)
    const ours = Object.entries(peerProtocols).flatMap(([name, { version, before }]) =>
      [version, ...before].map((one) => protocolId(name, one)),
    )
    const spoken = nodes[1].node.libp2p.getProtocols().filter((id) => ours.includes(id) && !id.includes('/gate/'))
    assert.deepEqual(
      [protocols.ring, protocols.controlPlane, protocols.renewal, protocols.revocations].filter(
        (id) => !spoken.includes(id),
      ),
      [],
    )
    for (const id of spoken) await isReset(connection, id, beginning)
  },
)

test(
  'member protocol: of another pool, in another form, too long, or failing: one stream',
  { timeout: 300_000 },
  async (t) => {
    const { served, poolId, connection, enter } = await createPair(t)
    const numbers: number[] = []
    answerMembers(doubling, served, ({ number }) => {
      numbers.push(number)
      if (number === 13) throw new Error('no such number')
      return { double: 2 * number }
    })
    const member = await enter()
    const framed = (body: Uint8Array): Uint8Array => {
      let bytes = new Uint8Array()
      sendMessage({ send: (data: Uint8Array) => (bytes = new Uint8Array(data)) }, body)
      return bytes
    }
    const other = 'f'.repeat(64)
    for (const body of [{ poolId: other, number: 1 }, { poolId }, { poolId, number: 1, more: 'x'.repeat(2000) }])
      await isReset(connection, doubling.id, framed(encodeCbor(body)))
    await assert.rejects(askMember(doubling, member, { poolId: other, number: 1 }), { code: 'notMember' })
    await assert.rejects(askMember(doubling, member, { poolId, number: 13 }))
    assert.deepEqual(await askMember(doubling, member, { poolId, number: 4 }), { double: 8 })
    assert.deepEqual([numbers, connection.status], [[13, 4], 'open'])
  },
)

test('member protocol: an answer of another form is no answer', { timeout: 300_000 }, async (t) => {
  const { served, poolId, enter } = await createPair(t)
  const Text = Type.Object({ text: Type.String() })
  answerMembers({ ...doubling, answer: { schema: Text, bytes: 1000 } }, served, () => ({ text: 'x' }))
  await assert.rejects(askMember(doubling, await enter(), { poolId, number: 1 }), { code: 'frameInvalid' })
})

test('member protocol: what is told without an answer arrives', { timeout: 300_000 }, async (t) => {
  const { served, poolId, enter } = await createPair(t)
  const told: MemberProtocol<typeof Question> = { ...doubling, id: '/test/told/1.0.0', answer: undefined }
  const heard = Promise.withResolvers<number>()
  answerMembers(told, served, ({ number }) => heard.resolve(number))
  assert.equal(await askMember(told, await enter(), { poolId, number: 5 }), undefined)
  assert.equal(await heard.promise, 5)
})

test('member protocol: it is spoken until it is ended, or the gate is', { timeout: 300_000 }, async (t) => {
  const { served, poolId, nodes, enter } = await createPair(t)
  const { libp2p } = nodes[1].node
  const spoken = (id: string): boolean => libp2p.getProtocols().includes(id)
  const member = await enter()
  const answer = ({ number }: { readonly number: number }) => ({ double: 2 * number })
  const stop = answerMembers(doubling, served, answer)
  assert.ok(spoken(doubling.id))
  stop()
  assert.ok(!spoken(doubling.id))
  await assert.rejects(askMember(doubling, member, { poolId, number: 1 }))
  answerMembers(doubling, served, answer) // another one takes its place
  assert.deepEqual(await askMember(doubling, member, { poolId, number: 3 }), { double: 6 })
  const spread = new RevocationSpread({ ...served, textOf: () => undefined, onList: () => undefined })
  assert.ok(spread)
  const ours = (): string[] => libp2p.getProtocols().filter((id) => id.startsWith('/meshnet/') || id === doubling.id)
  assert.deepEqual(
    [doubling.id, protocols.gate, protocolId('gate', '1.0.0'), protocols.ring, protocols.revocations].filter(
      (id) => !ours().includes(id),
    ),
    [],
  )
  nodes[1].gate.stop()
  assert.deepEqual(ours(), [])
})

test('member protocol: by types, what reads is given members alone, and only a gate makes one', async () => {
  const typed = (served: Served, connection: Connection): void => {
    // @ts-expect-error a connection is no member
    void askMember(doubling, connection, { poolId: '', number: 1 })
    // @ts-expect-error nor is what looks like one
    const forged: Member = { connection, deviceId: 'f'.repeat(64), isOf: () => true }
    // @ts-expect-error nobody is served for the connection alone
    serveMembers(doubling, served, async (_stream, { remotePeer }: Connection) => void remotePeer)
    // @ts-expect-error who answers gets the question that was read, and no stream
    answerMembers(doubling, served, ({ send }) => send())
    // @ts-expect-error a question that names no pool could not be asked of its members
    const aboutNothing: MemberProtocol<ReturnType<typeof Type.Object<{ number: ReturnType<typeof Type.Integer> }>>> = {
      ...doubling,
      answer: undefined,
    }
    void [forged, aboutNothing]
  }
  assert.equal(typeof typed, 'function')
  assert.ok(limits.gateMs > 3000, 'a reset within three seconds is no deadline of the gate')
})
