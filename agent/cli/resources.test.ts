/** lock-resources, resource-status, unlock-resources as commands of a real process. */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { openHome } from '../../shared/home.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { eventually, mesh, meshHere, startReady } from '../../test/support/processes.ts'
import { loadDevice } from '../device/device.ts'
import { readClock } from '../device/elapsed.ts'
import { changeLock, loadLock, saveCountdown } from '../device/lock-store.ts'
import { lock } from '../device/resource-lock.ts'

interface Status {
  readonly phase: string
  readonly memory_bytes: number
  readonly remaining_ms: number | null
  readonly degraded: boolean
  readonly sequence: number
  readonly recorded: boolean | null
  readonly changed?: boolean
}

/** A device whose control plane may be started at that address. */
const createDevice = async (
  t: TestContext,
): Promise<{ home: string; startPlane(): Promise<void>; run(...args: string[]): Promise<Status> }> => {
  const root = temporaryFolder(t)
  const probe = await startReady(t, {
    name: 'control plane',
    program: 'mesh',
    args: ['control-plane', '--port', '0', '--json'],
    home: join(root, 'services'),
  })
  await probe.process.stop()
  const home = join(root, 'device')
  const url = String(probe.info.url)
  await mesh(['init', '--network-id', 'home', '--name', 'Only', '--control-plane', url], { home })
  return {
    home,
    startPlane: async () =>
      void (await startReady(t, {
        name: 'control plane',
        program: 'mesh',
        args: ['control-plane', '--port', new URL(url).port, '--json'],
        home: join(root, 'services'),
      })),
    run: async (...args) => JSON.parse(await mesh([...args, '--json'], { home })) as Status,
  }
}

const refused = async (home: string, args: readonly string[], code: number, text: RegExp): Promise<void> => {
  const result = await meshHere(args, home)
  assert.match(result.stderr, text)
  assert.equal(result.code, code)
}

describe('memory locks', () => {
  it(
    'without a control plane a lock holds on disk; nothing shrinks it, and every refusal says what to do',
    { timeout: 300_000 },
    async (t) => {
      const { home, run } = await createDevice(t)
      assert.equal((await run('resource-status')).phase, 'unlocked')
      await refused(
        home,
        ['unlock-resources'],
        2,
        /^error: no memory of this device is locked\nhint: mesh lock-resources/m,
      )
      await refused(home, ['lock-resources'], 2, /needs --memory <size>/)
      await refused(home, ['lock-resources', '--memory', 'lots'], 2, /"lots" is not a size/)
      await refused(
        home,
        ['lock-resources', '--memory', '900TB'],
        3,
        /^error: 900 TB cannot be locked: .* has [\d.]+ [GM]B\nhint: lock less/m,
      )
      const locked = await run('lock-resources', '--memory', '100MB')
      assert.deepEqual(
        [locked.phase, locked.memory_bytes, locked.changed, locked.recorded, locked.sequence],
        ['locked', 100e6, true, false, 1],
      )
      assert.equal((await run('lock-resources', '--memory', '100MB')).changed, false)
      await refused(
        home,
        ['lock-resources', '--memory', '99MB'],
        7,
        /^error: 100 MB are locked with a cooldown of 24 h: a lock can grow, but not shrink\nhint: mesh unlock-resources/m,
      )
      const cooling = await run('unlock-resources')
      assert.deepEqual([cooling.phase, cooling.sequence], ['cooling', 2])
      assert.ok(
        cooling.remaining_ms !== null && cooling.remaining_ms > 86400e3 - 30_000 && cooling.remaining_ms <= 86400e3,
      )
      await refused(
        home,
        ['lock-resources', '--memory', '99MB'],
        7,
        /^error: 100 MB stay locked until about \d{4}-\d\d-\d\d \d\d:\d\d UTC \(2[34] h(?: \d+ min)? left of the cooldown\)$/m,
      )
      assert.match(
        (await meshHere(['status'], home)).stdout,
        /memory +100 MB, unlocked: it stays committed until about/,
      )
    },
  )

  it(
    'the agent records a lock that was made while the control plane was away, and frees it when the cooldown is over',
    { timeout: 300_000 },
    async (t) => {
      const { home, startPlane, run } = await createDevice(t)
      await run('lock-resources', '--memory', '100MB', '--cooldown', '3s')
      await startPlane()
      await startReady(t, {
        name: 'agent',
        program: 'mesh',
        args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0'],
        home,
      })
      await eventually(20_000, 'the lock is recorded', async () =>
        (await run('resource-status')).recorded ? true : undefined,
      )
      assert.equal((await run('unlock-resources')).phase, 'cooling')
      await eventually(40_000, 'the agent says that it is free', async () => {
        const { phase, recorded, sequence } = await run('resource-status')
        return phase === 'unlocked' && recorded && sequence === 3 ? true : undefined
      })
      assert.equal((await run('lock-resources', '--memory', '50MB')).sequence, 4)
    },
  )

  it('a cooldown goes on over restarts and over a wall clock that was set', { timeout: 300_000 }, async (t) => {
    const { home, run } = await createDevice(t)
    await run('lock-resources', '--memory', '100MB')
    await run('unlock-resources')
    const [paths, device] = [openHome(home), loadDevice(openHome(home))]
    const stored = loadLock(paths, device)
    assert.ok(stored?.countdown)
    // as an agent wrote it down ten hours ago, when the wall clock was a year behind
    const { at } = stored.countdown
    saveCountdown(paths, {
      ...stored,
      countdown: { ...stored.countdown, remainingMs: 14 * 3600e3, at: { ...at, wallMs: at.wallMs - 365 * 86400e3 } },
    })
    const { remaining_ms: remaining } = await run('resource-status')
    assert.ok(remaining !== null && remaining <= 14 * 3600e3 && remaining > 14 * 3600e3 - 60_000, `${remaining}`)
  })

  it(
    'a machine that cannot keep its lock is degraded and says so, and its agent runs on',
    { timeout: 300_000 },
    async (t) => {
      const { home, startPlane, run } = await createDevice(t)
      await mesh(['pool-create', '--name', 'home'], { home })
      await startPlane()
      // locked when the machine had far more: the statement is real, the memory is gone
      changeLock(openHome(home), loadDevice(openHome(home)), (before) =>
        lock(before, { memoryBytes: 2 ** 49 }, readClock()),
      )
      const { process: agent } = await startReady(t, {
        name: 'agent',
        program: 'mesh',
        args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0'],
        home,
      })
      await eventually(20_000, 'the pool sees it', async () =>
        /memory +Only: 563 TB locked, degraded: 56\d TB missing/.test((await meshHere(['pool-status'], home)).stdout)
          ? true
          : undefined,
      )
      assert.ok(agent.running)
      assert.ok(agent.tail().some((line) => line.includes('degraded: 563 TB are locked')))
      assert.equal((await run('resource-status')).degraded, true)
      assert.match(
        await mesh(['status'], { home }),
        /degraded: 56\d TB missing; what is placed here stays, nothing new comes/,
      )
      const joined = await mesh(['join-ring', '--model-id', 'tiny-story'], { home })
      assert.match(joined, /waiting \(tiny-story q8 does not fit: Only lacks/)
    },
  )

  it('a lock that is lost on disk comes back from the control plane', { timeout: 300_000 }, async (t) => {
    const { home, startPlane, run } = await createDevice(t)
    await startPlane()
    assert.equal((await run('lock-resources', '--memory', '100MB')).recorded, true)
    const { locks } = openHome(home)
    const file = join(locks.folder, '0000000001.json')
    writeFileSync(file, 'damaged')
    await refused(home, ['resource-status'], 3, /cannot read .*0000000001\.json/)
    rmSync(file)
    await refused(home, ['lock-resources', '--memory', '10MB'], 7, /100 MB are locked/)
    assert.equal((await run('resource-status')).memory_bytes, 100e6)
  })
})
