/**
 * kill -9 at random points of joining a pool, of every process that takes part: afterwards the same command works, an
 * invite is used once by each device that came in and by no other, and each has one certificate.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { it, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { programs } from '../agent/cli/programs.ts'
import { createDeviceClient } from '../agent/device/control-plane.ts'
import { loadDevice, type LocalDevice, saveDevice } from '../agent/device/device.ts'
import { makeInvite } from '../agent/device/invites.ts'
import { findPool, listPools, type LocalPool } from '../agent/device/pools.ts'
import { seeded } from '../control-plane/test/seeded.ts'
import { type Home, openHome, readStateJson } from '../shared/home.ts'
import { decodeInvite } from '../shared/identity/invite.ts'
import { verifyCertificate } from '../shared/identity/pool-certificate.ts'
import { temporaryFolder } from './support/homes.ts'
import { isFull } from './support/full.ts'
import { runUntilKilled, seed } from './support/kills.ts'
import { mesh, meshHere, startReady } from './support/processes.ts'

/** `node test/join-kills.test.ts --full` kills 60 times, in about two minutes. */
const kills = isFull ? 60 : 6

type Service = Awaited<ReturnType<typeof startReady>>

interface Joiner {
  readonly home: Home
  readonly device: LocalDevice
}

class Scene {
  readonly url: string
  readonly admin: Home
  readonly pool: LocalPool
  readonly #t: TestContext
  readonly #root: string
  #plane: Service
  #agent: Service

  private constructor(
    t: TestContext,
    root: string,
    { admin, plane, agent }: { readonly admin: Home; readonly plane: Service; readonly agent: Service },
  ) {
    this.#t = t
    this.#root = root
    this.#plane = plane
    this.#agent = agent
    this.admin = admin
    this.pool = listPools(admin)[0]
    this.url = String(plane.info.url)
  }

  static async create(t: TestContext): Promise<Scene> {
    const root = temporaryFolder(t)
    const admin = join(root, 'admin')
    const plane = await startPlane(t, root, '0')
    await mesh(['init', '--network-id', 'home', '--name', 'Admin', '--control-plane', String(plane.info.url)], {
      home: admin,
    })
    await mesh(['pool-create', '--name', 'club'], { home: admin })
    return new Scene(t, root, { admin: openHome(admin), plane, agent: await startAgent(t, admin) })
  }

  /** A device that is set up. */
  device(name: string): Joiner {
    const home = openHome(join(this.#root, name))
    return { home, device: saveDevice(home, { networkId: 'home', name, controlPlaneUrl: this.url }) }
  }

  invite(uses: number): { readonly line: string; usedBy(): string[] } {
    const line = makeInvite(this.admin, this.pool, {
      role: 'member',
      uses,
      notAfter: Math.floor(Date.now() / 1000) * 1000 + 600_000,
      urls: [this.url],
    })
    const file = join(this.admin.pool(this.pool.poolId).invites, `${decodeInvite(line).inviteId}.json`)
    return { line, usedBy: () => (readStateJson(file) as { usedBy: string[] }).usedBy }
  }

  /** Devices that the control plane has as members; nobody asks any more. */
  async members(): Promise<string[]> {
    const params = { poolId: this.pool.poolId }
    const client = createDeviceClient({ home: this.admin, device: loadDevice(this.admin) })
    assert.deepEqual(await client.call('listJoins', { params }), [], 'no request is left open')
    return (await client.call('listPeers', { params })).map(({ deviceId }) => deviceId).toSorted()
  }

  /** What the control plane has for a device: its certificate, if any. */
  async recorded({ home, device }: Joiner): Promise<string | undefined> {
    const client = createDeviceClient({ home, device })
    return (await client.call('getJoin', { params: { poolId: this.pool.poolId } }).catch(() => undefined))?.certificate
  }

  async kill(victim: 'agent' | 'control plane'): Promise<void> {
    const { process } = victim === 'agent' ? this.#agent : this.#plane
    process.signal('SIGKILL')
    await process.ended
  }

  async restart(victim: 'agent' | 'control plane'): Promise<void> {
    if (victim === 'agent') this.#agent = await startAgent(this.#t, this.admin.root)
    else this.#plane = await startPlane(this.#t, this.#root, new URL(this.url).port)
  }
}

const startPlane = (t: TestContext, root: string, port: string): Promise<Service> =>
  startReady(t, {
    name: 'control plane',
    program: 'controlPlane',
    args: ['--port', port, '--json'],
    home: join(root, 'services'),
  })

const startAgent = (t: TestContext, home: string): Promise<Service> =>
  startReady(t, {
    name: 'agent of the admin',
    program: 'mesh',
    args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--discovery', 'none', '--threads', '1'],
    home,
  })

const command = (line: string): string[] => ['pool-join', '--invite', line, '--wait', '60s', '--json']

/** Calls `first` when the request to join is about to be sent. */
const onRequest =
  (first: () => void): typeof fetch =>
  (input, init) => {
    if (init?.method === 'POST' && String(input).includes('join-requests')) first()
    return fetch(input, init)
  }

type Victim = 'command' | 'agent' | 'control plane'
const victims: readonly Victim[] = ['command', 'agent', 'control plane', 'agent']

/** Two devices join by one invite while something is killed. @returns whether it was killed half way */
const round = async (
  t: TestContext,
  scene: Scene,
  { number, random, wholeMs }: { readonly number: number; readonly random: () => number; readonly wholeMs: number },
): Promise<boolean> => {
  const victim = victims[number % victims.length]
  const invite = scene.invite(2)
  const [first, second, third] = ['first', 'second', 'third'].map((name) => scene.device(`${name}-${number}`))
  let isHalfWay = false
  if (victim === 'command') {
    // half of them from the start on, the others after the control plane has the request
    const time =
      random() < 0.5
        ? { afterMs: wholeMs * (0.4 + 0.6 * random()) }
        : { afterMs: random() * 400, from: 'stderr' as const }
    await runUntilKilled(t, [programs.mesh, ...command(invite.line)], first.home.root, time)
    isHalfWay = invite.usedBy().length > 0 && findPool(first.home, scene.pool.poolId) === undefined
  } else {
    const asked = Promise.withResolvers<void>()
    const attempts = Promise.all(
      [first, second].map(({ home }) => meshHere(command(invite.line), home.root, onRequest(asked.resolve))),
    )
    await asked.promise
    await pause(random() * 60)
    await scene.kill(victim)
    if (victim === 'agent') isHalfWay = invite.usedBy().length > 0 && (await scene.recorded(first)) === undefined
    await scene.restart(victim)
    // "not reached" at most
    for (const { code, stderr } of await attempts) assert.ok(code === 0 || code === 4, `round ${number}: ${stderr}`)
  }

  for (const { home } of [first, second]) {
    const { code, stderr } = await meshHere(command(invite.line), home.root)
    assert.equal(code, 0, `round ${number}: the same command again, after the ${victim} was killed: ${stderr}`)
  }
  const late = await meshHere(command(invite.line), third.home.root)
  assert.equal(late.code, 7, `round ${number}`)
  assert.match(late.stderr, /the invite was used already \(2 times at most\)/)
  assert.deepEqual(
    invite.usedBy().toSorted(),
    [first, second].map(({ device }) => device.deviceId).toSorted(),
    `round ${number}`,
  )
  for (const joiner of [first, second]) {
    const { certificate = '', role } = findPool(joiner.home, scene.pool.poolId) ?? {}
    const { deviceId } = verifyCertificate(certificate, Buffer.from(scene.pool.rootPublicKey, 'hex'), Date.now())
    assert.deepEqual([deviceId, role], [joiner.device.deviceId, 'member'])
    assert.equal(
      await scene.recorded(joiner),
      certificate,
      `round ${number}: device and control plane have one certificate`,
    )
  }
  return isHalfWay
}

it(`${kills} kills while devices join by invite (seed ${seed})`, { timeout: 600_000 }, async (t) => {
  const scene = await Scene.create(t)
  const random = seeded(seed + 3)
  const probe = scene.device('probe')
  const { code, ms } = await runUntilKilled(t, [programs.mesh, ...command(scene.invite(1).line)], probe.home.root, {
    afterMs: 60_000,
  })
  assert.equal(code, 0)
  let halfWay = 0
  for (let number = 0; number < kills; number++) if (await round(t, scene, { number, random, wholeMs: ms })) halfWay++
  const members = await scene.members()
  assert.equal(members.length, 2 + 2 * kills, 'the admin, the probe, and two for each kill')
  assert.equal(new Set(members).size, members.length)
  t.diagnostic(`${halfWay} of ${kills} kills came between the use of an invite and the end of the join`)
  if (isFull) assert.ok(halfWay >= kills / 20, `only ${halfWay} kills hit a join half way`)
})
