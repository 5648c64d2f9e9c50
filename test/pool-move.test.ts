/**
 * A pool moves to a control plane with another key: by the word of an admin all members follow, by nobody else's. While
 * they look for it, a member gone bad tells them where to look.
 */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { pinOf } from '../agent/cli/pool-pin.ts'
import { readAgentState } from '../agent/cli/session.ts'
import { lanAddresses } from '../agent/device/interfaces.ts'
import { findPool, type LocalPool } from '../agent/device/pools.ts'
import { createTestNode } from '../agent/network/test/pool-of-nodes.ts'
import { openHome } from '../shared/home.ts'
import { deviceIdOf } from '../shared/identity/device-key.ts'
import { signPin } from '../shared/identity/control-plane-pin.ts'
import { type KeyPair, newKeyPair } from '../shared/identity/keys.ts'
import { issueCertificate } from '../shared/identity/pool-certificate.ts'
import { parseControlPlaneId } from '../shared/ids.ts'
import type { Printed } from '../shared/printed.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { encodeCbor } from '../shared/wire/envelope.ts'
import { limits } from '../shared/limits.ts'
import { readMessage, sendMessage } from '../shared/wire/message-stream.ts'
import { protocols } from '../shared/wire/protocols.ts'
import { multiaddr } from '@multiformats/multiaddr'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, runMesh, startReady } from './support/processes.ts'

interface Plane {
  readonly url: string
  readonly port: string
  readonly key: string
  stop(): Promise<unknown>
}

const startPlane = async (t: TestContext, home: string, port = '0'): Promise<Plane> => {
  const { info, process } = await startReady(t, {
    name: 'control plane',
    program: 'mesh',
    args: ['control-plane', '--port', port, '--json'],
    home,
  })
  const url = String(info.url)
  return { url, port: new URL(url).port, key: String(info.control_plane_key), stop: () => process.stop() }
}

const startAgent = async (t: TestContext, home: string): Promise<readonly string[]> => {
  const args = ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1']
  return (await startReady(t, { name: `agent of ${home}`, program: 'mesh', args, home })).info.addresses as string[]
}

const isConnected = (home: string): boolean => readAgentState(openHome(home))?.controlPlane.connected ?? false

const prompt = ['inference', '--prompt', 'Once upon a time', '--max-tokens', '24', '--seed', '5', '--temperature', '0']

/** Both devices serve the model. @returns the text of the prompt */
const askRing = async (admin: string, member: string): Promise<string> => {
  for (const home of [admin, member]) await mesh(['join-ring', '--model-id', 'tiny-story'], { home })
  await eventually(40_000, 'the ring is active with both', async () => {
    const [ring] = JSON.parse(await mesh(['ring-status', '--json'], { home: admin })) as Printed<RingView>[]
    return ring?.status === 'active' && ring.world_size === 2 ? true : undefined
  })
  return mesh(prompt, { home: member })
}

interface Recorder {
  readonly port: number
  /** What anybody sent; a connection alone counts as an empty text. */
  readonly heard: string[]
}

const startRecorder = async (t: TestContext): Promise<Recorder> => {
  const heard: string[] = []
  const server = createServer((socket) => {
    const at = heard.push('') - 1
    socket.on('error', () => undefined)
    socket.on('data', (data) => {
      heard[at] += data.toString('latin1')
    })
  })
  t.after(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { port: address.port, heard }
}

/**
 * A member whose agent is not ours: it tells whoever asks that the control plane is at these addresses, and shows that
 * pin.
 */
const startLiar = async (
  t: TestContext,
  { poolId, rootKey }: LocalPool & { readonly rootKey: KeyPair },
  address: string,
  answer: { readonly urls: readonly string[]; readonly pin?: string },
): Promise<{ asked: number }> => {
  const key = newKeyPair()
  const certificate = issueCertificate(rootKey, { deviceId: deviceIdOf(key), role: 'member' }, Date.now())
  const { node, gate } = await createTestNode(key, {
    rootKeyOf: (id) => (id === poolId ? rootKey.publicKey : undefined),
    certificateOf: () => certificate,
  })
  t.after(async () => {
    gate.stop()
    await node.stop()
  })
  const liar = { asked: 0 }
  await node.libp2p.handle(protocols.controlPlane, async (stream) => {
    await readMessage(stream, limits.gateBytes, AbortSignal.timeout(3000))
    liar.asked++
    sendMessage(stream, encodeCbor(answer))
  })
  await gate.enter(await node.libp2p.dial(multiaddr(address)), poolId, AbortSignal.timeout(10_000))
  return liar
}

test(
  'move: members follow the word of an admin to another key, and no word of anybody else; lies make them dial nobody',
  { timeout: 300_000 },
  async (t) => {
    const root = temporaryFolder(t)
    const [admin, member] = ['Admin', 'Member'].map((name) => join(root, name))
    const old = await startPlane(t, join(root, 'old'))
    for (const home of [admin, member])
      await mesh(
        ['init', '--network-id', 'home', '--name', home === admin ? 'Admin' : 'Member', '--control-plane', old.url],
        { home },
      )
    await mesh(['pool-create', '--name', 'club'], { home: admin })
    const [{ pool_id: poolId }] = JSON.parse(await mesh(['pool-list', '--json'], { home: admin })) as {
      pool_id: string
    }[]
    const pool = findPool(openHome(admin), poolId)
    assert.ok(pool?.rootKey)
    const pinnedIn = (home: string): string | undefined =>
      pinOf({ home: openHome(home), now: Date.now }, poolId)?.controlPlaneId
    assert.equal(pinnedIn(admin), old.key, 'whoever makes the pool names its control plane')
    await startAgent(t, admin)
    await mesh(['pool-join', '--invite', (await mesh(['pool-invite'], { home: admin })).trim()], { home: member })
    assert.equal(pinnedIn(member), old.key, 'and a new member learns of it')
    const [address] = await startAgent(t, member)
    const before = await askRing(admin, member)
    assert.match(
      await mesh(['pool-status'], { home: member }),
      new RegExp(`control plane +key ${old.key.slice(0, 8)}, named by the maker of the pool`),
    )

    await old.stop()
    await t.test(
      'a member that lies about addresses and keys: not one byte is sent, and no key is believed',
      async (st) => {
        const recorder = await startRecorder(st)
        const hosts = [
          '127.0.0.1',
          'localhost',
          '[::1]',
          '[::ffff:127.0.0.1]',
          '2130706433',
          hostname(),
          ...lanAddresses().slice(0, 1),
        ]
        const all = hosts.flatMap((host) => [`http://${host}:${recorder.port}`, `https://${host}:${recorder.port}`])
        const pin = signPin(
          newKeyPair(),
          { after: 7, controlPlaneId: parseControlPlaneId('ab'.repeat(32)) },
          Date.now(),
        )
        const liars = [
          await startLiar(st, { ...pool, rootKey: pool.rootKey as KeyPair }, address, { urls: all.slice(0, 8), pin }),
          await startLiar(st, { ...pool, rootKey: pool.rootKey as KeyPair }, address, { urls: all.slice(8), pin }),
        ]
        await eventually(30_000, 'the agent asked both, again and again', () =>
          liars.every(({ asked }) => asked >= 4) ? true : undefined,
        )
        assert.deepEqual(recorder.heard, [])
        assert.equal(pinnedIn(member), old.key)
      },
    )

    // somebody else's control plane in the place of ours
    const next = await startPlane(t, join(root, 'next'), old.port)
    assert.notEqual(next.key, old.key)
    const refused = await runMesh(['pool-status'], { home: member })
    assert.deepEqual([refused.code, refused.stderr.includes(next.key.slice(0, 8))], [7, true], refused.stderr)
    assert.deepEqual([isConnected(admin), isConnected(member)], [false, false])
    const move = (home: string, ...args: string[]): ReturnType<typeof runMesh> =>
      runMesh(['pool-move', '--control-plane', next.url, ...args], { home })
    assert.equal((await move(member, '--yes')).code, 7, 'a member moves no pool')
    const unsure = await move(admin)
    assert.deepEqual([unsure.code, unsure.stderr.includes(next.key)], [2, true])
    const wrong = await move(admin, '--control-plane-key', 'ab'.repeat(32))
    assert.notEqual(wrong.code, 0)
    assert.deepEqual([isConnected(admin), isConnected(member)], [false, false])

    // now an admin says so: nobody else runs a command
    const moved = await move(admin, '--control-plane-key', next.key)
    assert.equal(moved.code, 0, moved.stderr)
    for (const home of [admin, member]) {
      await eventually(30_000, `${home} turned to the new control plane`, () => isConnected(home) || undefined)
      assert.equal(pinnedIn(home), next.key)
      await eventually(
        5000,
        'commands follow',
        async () => (await runMesh(['pool-status'], { home })).code === 0 || undefined,
      )
    }
    assert.equal(await askRing(admin, member), before)

    // the old one comes back at another address: nothing is sent there that it could use
    const back = await startPlane(t, join(root, 'old'))
    assert.equal(back.key, old.key)
    const late = await runMesh(['pool-status', '--control-plane', back.url, '--control-plane-key', back.key], {
      home: member,
    })
    assert.equal(late.code, 7)
    assert.match(
      late.stderr,
      new RegExp(
        `^error: pool ${poolId.slice(0, 8)} is served by the control plane with the key ${next.key.slice(0, 8)}, ` +
          `and this is one with the key ${old.key.slice(0, 8)}$`,
        'm',
      ),
    )
  },
)
