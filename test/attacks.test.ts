/**
 * What a pool that works must refuse, over real sockets: an admin's agent and a member's agent run in processes of
 * their own and answer prompts while strangers, thieves and removed members try to get in.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { findDevice } from '../agent/device/device.ts'
import { findPool, type LocalPool } from '../agent/device/pools.ts'
import { readMessage } from '../shared/wire/message-stream.ts'
import { createTestNode, type TestNode } from '../agent/network/test/pool-of-nodes.ts'
import { createClient } from '../shared/api/client.ts'
import { controlPlaneAt } from '../shared/api/contact.ts'
import { MeshError } from '../shared/errors.ts'
import { openHome } from '../shared/home.ts'
import { deviceIdOf } from '../shared/identity/device-key.ts'
import { decodeInvite, inviteProof } from '../shared/identity/invite.ts'
import { type KeyPair, newKeyPair, toHex } from '../shared/identity/keys.ts'
import { certificateLifetimeMs, issueCertificate } from '../shared/identity/pool-certificate.ts'
import { signRequest } from '../shared/identity/request-signature.ts'
import { signRevocations } from '../shared/identity/revocation-list.ts'
import { limits } from '../shared/limits.ts'
import { protocols } from '../shared/wire/protocols.ts'
import type { Printed } from '../shared/printed.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, startReady } from './support/processes.ts'
import { multiaddr } from '@multiformats/multiaddr'

interface Arena {
  readonly url: string
  readonly poolId: string
  readonly root: KeyPair
  readonly admin: string
  readonly pool: LocalPool
  /** Address of the admin's agent, and its process. */
  readonly address: string
  readonly agentPid: number
  readonly planePid: number
  /** A prompt of an honest member, while something else happens: the text must be the one it always is. */
  undisturbed(attack: () => Promise<void>): Promise<void>
}

const prompt = ['inference', '--prompt', 'Once upon a time', '--max-tokens', '120', '--seed', '5', '--temperature', '0']

const createArena = async (t: TestContext): Promise<Arena> => {
  const root = temporaryFolder(t)
  const [admin, member] = [join(root, 'admin'), join(root, 'member')]
  const plane = await startReady(t, {
    name: 'control plane',
    program: 'controlPlane',
    args: ['--port', '0', '--json', '--log-level', 'error'],
    home: join(root, 'services'),
  })
  const url = String(plane.info.url)
  const start = (home: string): ReturnType<typeof startReady> =>
    startReady(t, {
      name: 'agent',
      program: 'mesh',
      args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1', '--log-level', 'error'],
      home,
    })
  await mesh(['init', '--network-id', 'home', '--name', 'Admin', '--control-plane', url], { home: admin })
  await mesh(['init', '--network-id', 'home', '--name', 'Member', '--control-plane', url], { home: member })
  const { pool_id: poolId } = JSON.parse(await mesh(['pool-create', '--name', 'home', '--json'], { home: admin })) as {
    pool_id: string
  }
  const agent = await start(admin)
  await mesh(['pool-join', '--invite', (await mesh(['pool-invite'], { home: admin })).trim()], { home: member })
  await start(member)
  for (const home of [admin, member]) await mesh(['join-ring', '--model-id', 'tiny-story'], { home })
  await eventually(40_000, 'the ring is active with both', async () => {
    const [ring] = JSON.parse(await mesh(['ring-status', '--json'], { home: admin })) as Printed<RingView>[]
    return ring?.status === 'active' && ring.world_size === 2 ? ring : undefined
  })
  const text = await mesh(prompt, { home: member })
  const pool = findPool(openHome(admin), poolId)
  assert.ok(pool?.rootKey && agent.process.pid && plane.process.pid)
  return {
    url,
    poolId,
    pool,
    admin,
    root: pool.rootKey,
    address: String((agent.info.addresses as string[])[0]),
    agentPid: agent.process.pid,
    planePid: plane.process.pid,
    undisturbed: async (attack) => {
      const honest = mesh(prompt, { home: member, timeoutMs: 240_000 })
      await Promise.all([attack(), honest])
      assert.equal(await honest, text)
    },
  }
}

const residentMiB = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024

const member = { role: 'member' } as const

/** A device of the attacker's with that certificate, and its node. */
const createAttacker = async (
  t: TestContext,
  arena: Arena,
  certificate: (key: KeyPair) => string,
): Promise<TestNode> => {
  const key = newKeyPair()
  const shown = certificate(key)
  const attacker = await createTestNode(key, {
    rootKeyOf: (id) => (id === arena.poolId ? arena.root.publicKey : undefined),
    certificateOf: () => shown,
  })
  t.after(async () => {
    attacker.gate.stop()
    await attacker.node.stop()
  })
  return attacker
}

const honestCertificate =
  (arena: Arena) =>
  (key: KeyPair): string =>
    issueCertificate(arena.root, { deviceId: deviceIdOf(key), ...member }, Date.now())

const enter = async (attacker: TestNode, arena: Arena): Promise<void> => {
  const connection = await attacker.node.libp2p.dial(multiaddr(arena.address))
  await attacker.gate.enter(connection, arena.poolId, AbortSignal.timeout(10_000))
}

const refusedWith =
  (code: string, problem = /./) =>
  (error: unknown): boolean =>
    error instanceof MeshError && error.code === code && problem.test(error.message)

/** What each thief shows at the gate, and what it is told. */
const thieves: Readonly<
  Record<string, { readonly certificate: (arena: Arena) => (key: KeyPair) => string; readonly problem: RegExp }>
> = {
  'a stranger with a pool of its own': {
    certificate: () => (key) => issueCertificate(newKeyPair(), { deviceId: deviceIdOf(key), ...member }, Date.now()),
    problem: /not of the root key/,
  },
  'an expired certificate': {
    certificate:
      ({ root }) =>
      (key) =>
        issueCertificate(root, { deviceId: deviceIdOf(key), ...member }, Date.now() - 2 * certificateLifetimeMs),
    problem: /expired/,
  },
  'the certificate of another device': {
    certificate:
      ({ pool }) =>
      () =>
        pool.certificate,
    problem: /another device/,
  },
  'a forged admin': {
    certificate: () => (key) => {
      const forged = newKeyPair()
      return issueCertificate(
        {
          key: forged,
          certificate: issueCertificate(forged, { deviceId: deviceIdOf(forged), role: 'admin' }, Date.now()),
        },
        { deviceId: deviceIdOf(key), ...member },
        Date.now(),
      )
    },
    problem: /not of the root key/,
  },
  'a member that plays admin': {
    certificate:
      ({ root }) =>
      (key) =>
        issueCertificate(
          { key, certificate: issueCertificate(root, { deviceId: deviceIdOf(key), ...member }, Date.now()) },
          { deviceId: deviceIdOf(key), ...member },
          Date.now(),
        ),
    problem: /no admin/,
  },
  "the admin's certificate without its key": {
    certificate:
      ({ pool }) =>
      (key) =>
        issueCertificate({ key, certificate: pool.certificate }, { deviceId: deviceIdOf(key), ...member }, Date.now()),
    problem: /not of the admin/,
  },
  garbage: { certificate: () => () => 'AAAA', problem: /certificate/ },
}

const gigabyte = Uint8Array.from([0, 0, 0, 64, 1, 2, 3])
const garbage = Uint8Array.from([8, 0, 0, 0, 0x9b, 255, 255, 255, 255, 255, 255, 255])

/** Sends bytes on a protocol. @returns what came back before the stream ended */
const sendRaw = async (attacker: TestNode, arena: Arena, protocol: string, bytes: Uint8Array): Promise<string> => {
  const connection = await attacker.node.libp2p.dial(multiaddr(arena.address))
  try {
    const stream = await connection.newStream(protocol)
    stream.send(bytes)
    return Buffer.from(await readMessage(stream, limits.gateBytes, AbortSignal.timeout(limits.gateMs + 3000))).toString(
      'latin1',
    )
  } catch (error) {
    if (error instanceof Error && error.name === 'TimeoutError') throw error
    return 'nothing'
  }
}

/** Opens a TCP connection, says something that is no handshake, and leaves. */
const knock = (port: number): Promise<void> =>
  new Promise((resolve) => {
    const socket = connectTcp({ port, host: '127.0.0.1' }, () => socket.end('hello'))
    socket.resume()
    socket.setTimeout(10_000, () => socket.destroy())
    socket.on('error', () => undefined)
    socket.on('close', () => resolve())
  })

const knocks = 10_000
const knocksAtOnce = 100

test('attacks on a pool that works', { timeout: 900_000 }, async (t) => {
  const arena = await createArena(t)
  const { url, poolId, root, admin } = arena
  const before = { agent: residentMiB(arena.agentPid), plane: residentMiB(arena.planePid) }
  const client = (key: KeyPair, certificate?: string): ReturnType<typeof createClient> =>
    createClient({ url, key, certificateOf: () => certificate })
  const register = (key: KeyPair, name: string): Promise<unknown> =>
    client(key).call('registerDevice', {
      body: {
        networkId: 'home',
        name,
        capabilities: { cpuCores: 1, memoryBytes: 1, platform: 'x', arch: 'y', backends: [] },
      },
    })

  await t.test('the gate refuses every thief, with the reason, and the prompt goes on', async (part) => {
    await arena.undisturbed(async () => {
      for (const { certificate, problem } of Object.values(thieves)) {
        const attacker = await createAttacker(part, arena, certificate(arena))
        await assert.rejects(enter(attacker, arena), refusedWith('gateRefused', problem))
      }
    })
  })

  await t.test('the control plane refuses the same certificates', async () => {
    const thief = newKeyPair()
    await register(thief, 'Thief')
    for (const [name, { certificate }] of Object.entries(thieves)) {
      await assert.rejects(
        client(thief, certificate(arena)(thief)).call('listPeers', { params: { poolId } }),
        (error: unknown) =>
          error instanceof MeshError && ['certificateInvalid', 'certificateExpired'].includes(error.code),
        name,
      )
    }
    await assert.rejects(client(thief).call('listPeers', { params: { poolId } }), { code: 'notMember' })
    await assert.rejects(client(thief, honestCertificate(arena)(thief)).call('listJoins', { params: { poolId } }), {
      code: 'notAdmin',
    })
    const list = signRevocations(
      newKeyPair(),
      { after: 3, removed: [String(findDevice(openHome(admin))?.deviceId)] },
      Date.now(),
    )
    await assert.rejects(client(thief).call('publishRevocations', { params: { poolId }, body: { list } }), {
      code: 'revocationsInvalid',
    })
  })

  await t.test('a replayed request and a wrong clock are refused', async () => {
    const key = newKeyPair()
    await register(key, 'Echo')
    const recipient = await controlPlaneAt(url)
    const send = async (
      at: number,
      signed = signRequest(key, { method: 'GET', path: '/api/devices/self', body: '', recipient }, at),
    ): Promise<string> => {
      const answers = [
        await fetch(`${url}/api/devices/self`, { headers: signed }),
        await fetch(`${url}/api/devices/self`, { headers: signed }),
      ]
      return (
        await Promise.all(
          answers.map(async (answer) =>
            answer.ok ? 'ok' : ((await answer.json()) as { error: { code: string } }).error.code,
          ),
        )
      ).join()
    }
    assert.equal(await send(Date.now()), 'ok,replayed')
    assert.equal(await send(Date.now() - 3600e3), 'clockSkew,clockSkew')
  })

  await t.test('an invite is used once, and the proof of one device is worth nothing to another', async () => {
    const invite = decodeInvite(await mesh(['pool-invite'], { home: admin }))
    const [first, second] = [newKeyPair(), newKeyPair()]
    const ask = async (key: KeyPair, proofOf: KeyPair): Promise<string> => {
      const params = { poolId }
      const proof = inviteProof(invite.secret, { poolId, inviteId: invite.inviteId, deviceId: deviceIdOf(proofOf) })
      await client(key).call('requestJoin', {
        params,
        body: { rootPublicKey: toHex(root.publicKey), invite: { inviteId: invite.inviteId, proof } },
      })
      return eventually(10_000, 'an answer', async () => {
        const { status, error } = await client(key).call('getJoin', { params })
        return status === 'pending' ? undefined : (error?.code ?? status)
      })
    }
    for (const key of [first, second]) await register(key, 'Guest')
    assert.equal(await ask(second, first), 'inviteInvalid')
    assert.equal(await ask(first, first), 'approved')
    assert.equal(await ask(second, second), 'inviteUsed')
  })

  await t.test(
    'a gigabyte announced and garbage at every protocol: refused, for strangers before anything is read',
    async (part) => {
      await arena.undisturbed(async () => {
        for (const bytes of [gigabyte, garbage]) {
          const stranger = await createAttacker(part, arena, () => 'AAAA')
          for (const protocol of [protocols.ring, protocols.revocations])
            assert.equal(await sendRaw(stranger, arena, protocol, bytes), 'nothing', protocol)
          assert.match(await sendRaw(stranger, arena, protocols.gate, bytes), /frame(TooLarge|Invalid)/)
          const insider = await createAttacker(part, arena, honestCertificate(arena))
          await enter(insider, arena)
          assert.match(await sendRaw(insider, arena, protocols.ring, bytes), /frame(TooLarge|Invalid)/)
          assert.equal(await sendRaw(insider, arena, protocols.revocations, bytes), 'nothing')
          assert.match(await sendRaw(insider, arena, protocols.gate, bytes), /frame(TooLarge|Invalid)/)
        }
      })
    },
  )

  await t.test('a stranger learns nothing of the agent, not even by the protocols of libp2p', async (part) => {
    const [stranger, insider] = [
      await createAttacker(part, arena, () => 'AAAA'),
      await createAttacker(part, arena, honestCertificate(arena)),
    ]
    const learned: string[] = []
    for (const [name, { node }] of Object.entries({ stranger, insider }))
      node.libp2p.addEventListener('peer:identify', () => learned.push(name))
    await enter(insider, arena) // a member is served as before
    const connection = await stranger.node.libp2p.dial(multiaddr(arena.address))
    await eventually(limits.gateMs + 5000, 'the connection of the stranger is closed', () =>
      connection.status === 'open' ? undefined : true,
    )
    assert.deepEqual(learned, ['insider'])
  })

  await t.test('a member that is removed in the middle of a prompt is cut off; the prompt goes on', async (part) => {
    const lost = await createAttacker(part, arena, honestCertificate(arena))
    await enter(lost, arena)
    const [connection] = lost.node.libp2p.getConnections()
    await arena.undisturbed(async () => {
      await mesh(['pool-remove', '--device', deviceIdOf(lost.key)], { home: admin })
      await eventually(5000, 'its connection is cut', () => (connection.status === 'open' ? undefined : true))
      await assert.rejects(enter(lost, arena), refusedWith('gateRefused', /was removed/))
    })
  })

  await t.test(`${knocks} connections that come to nothing`, { timeout: 300_000 }, async () => {
    const port = Number(/\/tcp\/(\d+)/.exec(arena.address)?.[1])
    await arena.undisturbed(async () => {
      for (let done = 0; done < knocks; done += knocksAtOnce)
        await Promise.all(Array.from({ length: knocksAtOnce }, () => knock(port)))
    })
  })

  await t.test('nobody took memory', async () => {
    // a heap that was busy a moment ago is collected when it has been idle for some seconds
    let grown = { agent: 0, plane: 0 }
    const isSmall = (): true | undefined => {
      grown = {
        agent: residentMiB(arena.agentPid) - before.agent,
        plane: residentMiB(arena.planePid) - before.plane,
      }
      return grown.agent < 150 && grown.plane < 150 ? true : undefined
    }
    await eventually(20_000, 'both are small again', isSmall).catch(() =>
      assert.fail(
        `the agent grew by ${grown.agent.toFixed(0)} MiB, the control plane by ${grown.plane.toFixed(0)} MiB`,
      ),
    )
  })
})
