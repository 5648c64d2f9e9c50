/**
 * kill -9 at random points of locking and unlocking, of every process that takes part: afterwards the lock is the one
 * before or the one after, on disk and at the control plane, never something between and never applied twice. The
 * random points come from a seed that a failure names.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { programs } from '../agent/cli/programs.ts'
import { createDeviceClient } from '../agent/device/control-plane.ts'
import { loadDevice, type LocalDevice } from '../agent/device/device.ts'
import { loadLock, type StoredLock } from '../agent/device/lock-store.ts'
import { type Home, openHome } from '../shared/home.ts'
import { verifyCommitment } from '../shared/identity/lock-statement.ts'
import type { Commitment } from '../shared/schema/lock.ts'
import { seeded } from '../control-plane/test/seeded.ts'
import { temporaryFolder } from './support/homes.ts'
import { isFull } from './support/full.ts'
import { runUntilKilled, seed } from './support/kills.ts'
import { stepBytes } from './support/lock-loop.ts'
import { eventually, mesh, startReady } from './support/processes.ts'

const loop = fileURLToPath(new URL('./support/lock-loop.ts', import.meta.url))

/** `node test/lock-kills.test.ts --full` kills 206 times, in about three minutes; `npm test` an eighth of that. */
const counts = isFull
  ? { inside: 150, commands: 40, services: 16, wholeEvery: 10 }
  : { inside: 20, commands: 4, services: 2, wholeEvery: 5 }

class Scene {
  readonly home: Home
  readonly device: LocalDevice
  readonly url: string

  constructor(home: Home, url: string) {
    this.home = home
    this.device = loadDevice(home)
    this.url = url
  }

  /** The lock on disk: reading it checks that it is whole and signed. */
  get stored(): StoredLock | undefined {
    return loadLock(this.home, this.device)
  }

  async recorded(): Promise<Commitment | undefined> {
    const { statement } = await createDeviceClient({ home: this.home, device: this.device, url: this.url }).call(
      'getLock',
      {},
    )
    return statement === null ? undefined : verifyCommitment(statement, this.device.key.publicKey)
  }

  /** Disk and control plane come to the same, by themselves or by the next command. */
  async agree(): Promise<void> {
    await eventually(30_000, 'the control plane knows what is on disk', async () =>
      (await this.recorded())?.sequence === this.stored?.commitment.sequence ? true : undefined,
    )
    assert.deepEqual(await this.recorded(), this.stored?.commitment)
  }
}

const startPlane = (t: TestContext, root: string, port: string): ReturnType<typeof startReady> =>
  startReady(t, {
    name: 'control plane',
    program: 'controlPlane',
    args: ['--port', port, '--json'],
    home: join(root, 'services'),
  })

const createScene = async (
  t: TestContext,
): Promise<{ scene: Scene; root: string; plane: Awaited<ReturnType<typeof startReady>> }> => {
  const root = temporaryFolder(t)
  const plane = await startPlane(t, root, '0')
  const home = join(root, 'device')
  await mesh(['init', '--network-id', 'home', '--name', 'Only', '--control-plane', String(plane.info.url)], { home })
  return { scene: new Scene(openHome(home), String(plane.info.url)), root, plane }
}

const numberAfter = (stdout: string, word: string): number =>
  Number([...stdout.matchAll(new RegExp(`^${word} (\\d+)\\n`, 'gm'))].at(-1)?.[1] ?? 0)

/** A change of the lock, and what it must lead to. */
const nextCommand = (
  before: Commitment | undefined,
): { readonly args: string[]; readonly phase: Commitment['phase']; readonly memoryBytes: number } => {
  if (before?.phase === 'locked')
    return { args: ['unlock-resources', '--json'], phase: 'cooling', memoryBytes: before.memoryBytes }
  const memoryBytes = (before?.memoryBytes ?? 0) + stepBytes
  return { args: ['lock-resources', '--memory', String(memoryBytes), '--json'], phase: 'locked', memoryBytes }
}

const summary = (commitment: Commitment | undefined): unknown[] => [
  commitment?.sequence ?? 0,
  commitment?.phase,
  commitment?.memoryBytes ?? 0,
]

describe('kill -9 while memory is locked and unlocked', () => {
  it(
    `at least ${counts.inside} kills inside the changes themselves (seed ${seed})`,
    { timeout: 300_000 },
    async (t) => {
      const { scene } = await createScene(t)
      const random = seeded(seed)
      let between = 0
      const changes = (): number => scene.stored?.commitment.sequence ?? 0
      // on a slow machine kills come before the first change, or between two: more of them then
      const saysEnough = (): boolean => changes() > 0.4 * counts.inside && between >= counts.inside / 40
      for (let round = 0; round < counts.inside || !saysEnough(); round++) {
        const before = changes()
        const { stdout } = await runUntilKilled(t, [loop], scene.home.root, { afterMs: random() * 60, from: 'stdout' })
        const [stored, recorded] = [Math.max(before, numberAfter(stdout, 'stored')), numberAfter(stdout, 'recorded')]
        const commitment = scene.stored?.commitment
        const sequence = commitment?.sequence ?? 0
        assert.ok(
          sequence === stored || sequence === stored + 1,
          `round ${round}: said stored ${stored}, found ${sequence}`,
        )
        const locks = Math.ceil(sequence / 2)
        if (sequence > 0)
          assert.deepEqual(
            summary(commitment),
            [sequence, sequence % 2 === 1 ? 'locked' : 'cooling', locks * stepBytes],
            `round ${round}`,
          )
        const known = (await scene.recorded())?.sequence ?? 0
        assert.ok(
          known >= recorded && known <= sequence && sequence - known <= 1,
          `round ${round}: recorded ${recorded}, control plane ${known}, disk ${sequence}`,
        )
        if (known !== sequence || sequence !== stored) between++
      }
      t.diagnostic(`${changes()} changes, ${between} kills half way`)
    },
  )

  it(`at least ${counts.commands} kills of the commands (seed ${seed})`, { timeout: 300_000 }, async (t) => {
    const { scene } = await createScene(t)
    const random = seeded(seed + 1)
    let wholeMs = 0
    let kills = 0
    for (let round = 0; kills < counts.commands || round % counts.wholeEvery !== 0; round++) {
      const before = scene.stored?.commitment
      const { args, phase, memoryBytes } = nextCommand(before)
      // some run to their end: that says how long they take now
      const isWhole = round % counts.wholeEvery === 0
      const { code, ms } = await runUntilKilled(t, [programs.mesh, ...args], scene.home.root, {
        afterMs: isWhole ? 60_000 : wholeMs * (0.4 + 0.7 * random()),
      })
      if (isWhole) wholeMs = ms
      if (code === null) kills++
      const found = summary(scene.stored?.commitment)
      const after = [(before?.sequence ?? 0) + 1, phase, memoryBytes]
      if (code === 0) assert.deepEqual(found, after, `round ${round}`)
      else
        assert.ok(
          [summary(before), after].some((state) => state.join() === found.join()),
          `round ${round}: ${summary(before).join()} became ${found.join()}`,
        )
      const known = summary(await scene.recorded())
      assert.ok(
        [summary(before), after].some((state) => state.join() === known.join()) ||
          (known[0] as number) < (before?.sequence ?? 0),
        `round ${round}: the control plane has ${known.join()}`,
      )
      assert.ok((known[0] as number) <= (found[0] as number))
    }
    await mesh(nextCommand(scene.stored?.commitment).args, { home: scene.home.root })
    await scene.agree()
  })

  it(
    `${counts.services} kills of agent and control plane while commands run (seed ${seed})`,
    { timeout: 300_000 },
    async (t) => {
      const { scene, root, plane } = await createScene(t)
      const random = seeded(seed + 2)
      const agentOptions = {
        name: 'agent',
        program: 'mesh',
        args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1'],
        home: scene.home.root,
      } as const
      let [control, agent] = [plane, await startReady(t, agentOptions)]
      for (let round = 0; round < counts.services; round++) {
        const before = scene.stored?.commitment
        const { args, phase, memoryBytes } = nextCommand(before)
        const isAgent = round % 2 === 0
        const running = mesh(args, { home: scene.home.root })
        await pause(random() * 800)
        const victim = isAgent ? agent : control
        victim.process.signal('SIGKILL')
        await victim.process.ended
        await running // nothing but the own disk is needed for a lock to hold
        assert.deepEqual(
          summary(scene.stored?.commitment),
          [(before?.sequence ?? 0) + 1, phase, memoryBytes],
          `round ${round}`,
        )
        if (isAgent) agent = await startReady(t, agentOptions)
        else control = await startPlane(t, root, new URL(scene.url).port)
        // the agent tells what the command could not, and so does the next command
        if (isAgent) await scene.agree()
        else
          assert.ok(
            [before?.sequence ?? 0, (before?.sequence ?? 0) + 1].includes((await scene.recorded())?.sequence ?? 0),
            `round ${round}`,
          )
        if (round % 4 > 1) continue
        const { remaining_ms: remaining } = JSON.parse(
          await mesh(['resource-status', '--json'], { home: scene.home.root }),
        ) as { remaining_ms: number | null }
        assert.equal(remaining === null, phase === 'locked')
        if (remaining !== null)
          assert.ok(remaining <= 86400e3 && remaining > 86400e3 - 60_000, `${remaining} ms are left`)
      }
    },
  )
})
