/** Removals and expiry on connections that are open, over real sockets. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Connection } from '@libp2p/interface'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair } from '../../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import {
  readRevocations,
  removalsOf,
  type RevocationList,
  signRevocations,
} from '../../shared/identity/revocation-list.ts'
import { silentLogger } from '../../shared/log.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { eventually } from '../../test/support/processes.ts'
import { Gate } from './gate.ts'
import { sendMessage } from '../../shared/wire/message-stream.ts'
import { createNode, type MeshNode } from './node.ts'
import { RevocationSpread } from './revocation-spread.ts'

const root = newKeyPair()
const poolId = poolIdOf(root.publicKey)

interface Member {
  readonly key: KeyPair
  readonly node: MeshNode
  readonly gate: Gate
  readonly spread: RevocationSpread
  certificate: string
  list: RevocationList | undefined
  receive(text: string): void
}

/** A member that holds lists in memory; otherwise wired as the agent does it. */
const createMember = async (t: TestContext, lifetimeMs?: number): Promise<Member> => {
  const key = newKeyPair()
  const logger = silentLogger()
  const node = await createNode({ key, listen: ['/ip4/127.0.0.1/tcp/0'], announce: [], relays: [], logger })
  const gate = new Gate(
    node,
    {
      rootKeyOf: (id) => (id === poolId ? root.publicKey : undefined),
      certificateOf: () => member.certificate,
      removalsOf: () => ({ number: member.list?.number ?? 0, has: removalsOf(member.list).has }),
    },
    {
      now: Date.now,
      logger,
      onCertificate: (connection, id, number) =>
        number < (member.list?.number ?? 0) && member.spread.offer(connection, id),
    },
  )
  const receive = (text: string): void => {
    const next = readRevocations(text, root.publicKey, Date.now())
    if (next.number <= (member.list?.number ?? 0)) return
    member.list = next
    gate.recheck(poolId)
    member.spread.spread(poolId)
  }
  const spread = new RevocationSpread({
    node,
    gate,
    logger,
    textOf: () => member.list?.text,
    onList: (_, text) => receive(text),
  })
  const member: Member = {
    key,
    node,
    gate,
    spread,
    receive,
    list: undefined,
    certificate: issueCertificate(root, { deviceId: deviceIdOf(key), role: 'member' }, Date.now(), lifetimeMs),
  }
  t.after(async () => {
    gate.stop()
    await node.stop()
  })
  return member
}

const dial = (from: Member, to: Member): Promise<Connection> => from.node.libp2p.dial(to.node.libp2p.getMultiaddrs())

const connect = async (from: Member, to: Member): Promise<Connection> => {
  const connection = await dial(from, to)
  await from.gate.enter(connection, poolId, AbortSignal.timeout(60_000))
  return connection
}

const closed = (what: string, connection: Connection, timeoutMs = 3000): Promise<unknown> =>
  eventually(timeoutMs, what, () => (connection.status === 'open' ? undefined : true))

const listWithout = (...members: Member[]): string =>
  signRevocations(root, { after: 0, removed: members.map(({ key }) => deviceIdOf(key)) }, Date.now())

test(
  'revocation: one member learns of it, all of them cut the device off, and nobody else',
  { timeout: 300_000 },
  async (t) => {
    const [a, b, c, lost] = await Promise.all([createMember(t), createMember(t), createMember(t), createMember(t)])
    const honest = [await connect(a, b), await connect(b, c)]
    const cut = [await connect(lost, c), await connect(a, lost)]
    a.receive(listWithout(lost)) // reaches c by way of b
    for (const connection of cut) await closed('the removed device is cut off', connection)
    for (const connection of honest) assert.equal(connection.status, 'open')
    assert.deepEqual([b.list?.number, c.list?.number], [1, 1])
    await assert.rejects(connect(lost, b), { code: 'gateRefused', message: /was removed from pool/ })
    await assert.rejects(connect(b, lost), { code: 'memberRemoved' })
  },
)

test('revocation: a member that was away is told when it comes back', { timeout: 300_000 }, async (t) => {
  const [a, late, lost] = await Promise.all([createMember(t), createMember(t), createMember(t)])
  const toLate = await connect(lost, late)
  a.receive(listWithout(lost))
  assert.equal(toLate.status, 'open')
  await connect(late, a)
  await closed('the member that came back cuts it off too', toLate)
})

test('revocation: a list of a stranger, of nobody and without end changes nothing', { timeout: 300_000 }, async (t) => {
  const [a, b] = await Promise.all([createMember(t), createMember(t)])
  const connection = await connect(a, b)
  const forged = signRevocations(newKeyPair(), { after: 8, removed: [deviceIdOf(a.key)] }, Date.now())
  a.list = { ...readRevocations(listWithout(), root.publicKey, Date.now()), text: forged }
  a.spread.spread(poolId)
  const stream = await connection.newStream(protocols.revocations)
  stream.send(Uint8Array.from([0, 0, 0, 64, 1, 2, 3]))
  await eventually(3000, 'the stream is gone', () => (stream.status === 'open' ? undefined : true))
  assert.deepEqual([connection.status, b.list], ['open', undefined])
  // a stranger is not even read
  const stranger = await createMember(t)
  stranger.certificate = 'AAAA'
  const strange = await (await dial(stranger, b)).newStream(protocols.revocations)
  try {
    sendMessage(strange, Buffer.from(listWithout(a)))
  } catch {
    // reset already
  }
  await eventually(3000, 'the stream of the stranger is gone', () => (strange.status === 'open' ? undefined : true))
  assert.equal(b.list, undefined)
})

test('expiry: an admission ends with the certificate while the connection is open', { timeout: 300_000 }, async (t) => {
  const [a, short] = [await createMember(t), await createMember(t, 2500)]
  const connection = await connect(short, a)
  assert.equal(connection.status, 'open')
  await closed('the certificate expired', connection, 5000)
  await assert.rejects(connect(short, a), { code: 'gateRefused', message: /expired/ })
})

test('expiry: a renewed certificate is shown on the same connection, and it stays', { timeout: 300_000 }, async (t) => {
  const [a, short] = [await createMember(t), await createMember(t, 2500)]
  const connection = await connect(short, a)
  const until = Date.now() + 3000
  short.certificate = issueCertificate(root, { deviceId: deviceIdOf(short.key), role: 'member' }, Date.now())
  short.gate.refresh(poolId)
  await eventually(6000, 'the first certificate is over', () => (Date.now() > until ? true : undefined))
  assert.equal(connection.status, 'open')
  assert.equal(a.gate.connectionsOf(poolId).length, 1)
})
