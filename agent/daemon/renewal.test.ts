/** Renewal from member to member over real sockets: homes on disk, no control plane anywhere. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { openHome } from '../../shared/home.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair, toHex } from '../../shared/identity/keys.ts'
import {
  certificateLifetimeMs,
  issueCertificate,
  poolIdOf,
  type Signer,
  verifyCertificate,
} from '../../shared/identity/pool-certificate.ts'
import type { AgentMessage } from '../../shared/api/messages.ts'
import { silentLogger } from '../../shared/log.ts'
import type { Role } from '../../shared/schema/pool.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { afterwards, temporaryFolder } from '../../test/support/homes.ts'
import { eventually } from '../../test/support/processes.ts'
import { savePool, selectPool } from '../device/pools.ts'
import { Revocations } from '../device/revocations.ts'
import { Gate } from '../network/gate.ts'
import { createNode, type MeshNode } from '../network/node.ts'
import type { Connection } from '../network/pool-peers.ts'
import { RenewalExchange } from '../network/renewal-exchange.ts'
import { RevocationSpread } from '../network/revocation-spread.ts'
import { Membership, poolDirectory } from './membership.ts'
import { signRenewal } from './pool-admin.ts'
import { PoolWatch } from './pool-watch.ts'

const root = newKeyPair()
const poolId = poolIdOf(root.publicKey)

interface Member {
  readonly key: KeyPair
  readonly node: MeshNode
  readonly gate: Gate
  readonly renewals: RenewalExchange
  readonly watch: PoolWatch
  /** What it would have told the control plane. */
  readonly sent: AgentMessage[]
  certificate(): string
}

interface Kind {
  readonly role?: Role
  readonly signer?: Signer
  /** Age of its certificate. */
  readonly ageMs?: number
  readonly hasRootKey?: boolean
}

/** A device of the pool, wired as the agent does it. */
const createMember = async (
  t: TestContext,
  { role = 'member', signer = root, ageMs = 0, hasRootKey = false }: Kind = {},
): Promise<Member> => {
  const [home, key, logger, now] = [openHome(temporaryFolder(t)), newKeyPair(), silentLogger(), Date.now]
  const deviceId = deviceIdOf(key)
  savePool(home, {
    poolId,
    name: 'club',
    rootPublicKey: toHex(root.publicKey),
    role,
    certificate: issueCertificate(signer, { deviceId, role }, Date.now() - ageMs),
    ...(hasRootKey ? { rootKey: root } : {}),
  })
  const node = await createNode({ key, listen: ['/ip4/127.0.0.1/tcp/0'], announce: [], relays: [], logger })
  const revocations = new Revocations(home, now)
  const gate = new Gate(node, poolDirectory(home, revocations), {
    now,
    logger,
    onCertificate: (connection, id) => membership.met(connection, id),
  })
  const spread = new RevocationSpread({ node, gate, logger, textOf: () => undefined, onList: () => undefined })
  const renewals = new RenewalExchange({
    node,
    gate,
    logger,
    now,
    renew: (request, asker) => signRenewal({ home, key, revocations, logger, now }, request, asker),
  })
  const sent: AgentMessage[] = []
  const watch = new PoolWatch({ home, logger })
  const membership = new Membership({
    home,
    watch,
    deviceId,
    revocations,
    gate,
    spread,
    renewals,
    now,
    logger,
    send: (message) => sent.push(message),
    onRenewed: () => undefined,
  })
  const member: Member = {
    key,
    node,
    gate,
    renewals,
    watch,
    sent,
    certificate: () => selectPool(home, poolId).certificate,
  }
  afterwards(t, async () => {
    watch.stop()
    gate.stop()
    await node.stop()
  })
  return member
}

const connect = async (from: Member, to: Member): Promise<Connection> => {
  const connection = await from.node.libp2p.dial(to.node.libp2p.getMultiaddrs())
  await from.gate.enter(connection, poolId, AbortSignal.timeout(60_000))
  return connection
}

const half = 0.6 * certificateLifetimeMs
const endOf = (text: string): number => verifyCertificate(text, root.publicKey, Date.now()).notAfter
const renewed = (member: Member): Promise<unknown> =>
  eventually(
    5000,
    'it is renewed',
    () => endOf(member.certificate()) > Date.now() + 0.9 * certificateLifetimeMs || undefined,
  )

test(
  'renewal: an admin that is connected renews without a control plane, and sees the new certificate',
  { timeout: 300_000 },
  async (t) => {
    const [admin, member] = [
      await createMember(t, { role: 'admin', hasRootKey: true }),
      await createMember(t, { ageMs: half }),
    ]
    member.watch.look() // nobody is there yet: the control plane is asked
    await eventually(2000, 'it asked the control plane', () => member.sent.length > 0 || undefined)
    const connection = await connect(admin, member)
    await renewed(member)
    assert.equal(connection.status, 'open')
    assert.deepEqual(
      member.sent.map(({ type }) => type),
      ['renew'],
    )
    assert.equal(verifyCertificate(member.certificate(), root.publicKey, Date.now()).deviceId, deviceIdOf(member.key))
  },
)

test(
  'renewal: an admin that the root key named renews members, not admins; a member renews nobody',
  { timeout: 300_000 },
  async (t) => {
    const named = await createMember(t, { role: 'admin' })
    const due = await createMember(t, { ageMs: half })
    await connect(due, named)
    due.watch.look()
    await renewed(due)
    assert.equal(verifyCertificate(due.certificate(), root.publicKey, Date.now()).signedBy, deviceIdOf(named.key))

    const [dueAdmin, plain] = [await createMember(t, { role: 'admin', ageMs: half }), await createMember(t)]
    const request = { poolId, certificate: dueAdmin.certificate() }
    await assert.rejects(dueAdmin.renewals.ask(await connect(dueAdmin, named), request), {
      code: 'renewalRefused',
      message: /root key alone signs for admins/,
    })
    await assert.rejects(dueAdmin.renewals.ask(await connect(dueAdmin, plain), request), {
      code: 'renewalRefused',
      message: /no admin/,
    })
    dueAdmin.watch.look() // refused by both, it turns to the control plane
    await eventually(
      2000,
      'it asked the control plane',
      () => dueAdmin.sent.some(({ type }) => type === 'renew') || undefined,
    )
  },
)

test(
  'renewal: too early, too often, for another device, of another pool: refused, and the connection stays',
  { timeout: 300_000 },
  async (t) => {
    const admin = await createMember(t, { role: 'admin', hasRootKey: true })
    const [fresh, thief, due] = [await createMember(t), await createMember(t), await createMember(t, { ageMs: half })]
    const connection = await connect(fresh, admin)
    await assert.rejects(fresh.renewals.ask(connection, { poolId, certificate: fresh.certificate() }), {
      code: 'renewalRefused',
      message: /still to come/,
    })
    await assert.rejects(fresh.renewals.ask(connection, { poolId, certificate: fresh.certificate() }), {
      code: 'renewalRefused',
      message: /asked less than 10 s ago/,
    })
    const ofThief = await connect(thief, admin)
    await assert.rejects(thief.renewals.ask(ofThief, { poolId, certificate: due.certificate() }), {
      code: 'certificateInvalid',
      message: /another device/,
    })
    // the stream is reset
    await assert.rejects(thief.renewals.ask(ofThief, { poolId: 'ab'.repeat(32), certificate: due.certificate() }))
    assert.deepEqual([connection.status, ofThief.status], ['open', 'open'])
  },
)

test(
  'renewal: a message without end, and a peer that never passed the gate, cost a stream and change nothing',
  { timeout: 300_000 },
  async (t) => {
    const [admin, member] = [await createMember(t, { role: 'admin', hasRootKey: true }), await createMember(t)]
    const connection = await connect(member, admin)
    const stream = await connection.newStream(protocols.renewal)
    stream.send(Uint8Array.from([0, 0, 0, 64, 1, 2, 3]))
    await eventually(3000, 'the stream is gone', () => (stream.status === 'open' ? undefined : true))
    assert.equal(connection.status, 'open')
    const stranger = await createMember(t, { signer: newKeyPair(), ageMs: half })
    const strange = await stranger.node.libp2p.dial(admin.node.libp2p.getMultiaddrs())
    await assert.rejects(stranger.renewals.ask(strange, { poolId, certificate: stranger.certificate() }))
  },
)
