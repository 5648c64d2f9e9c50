/** `mesh up`: one command hosts a group, its parts are kept running, and all of them end with it, however it ends. */
import assert from 'node:assert/strict'
import { readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { ManagedProcess } from '../agent/cli/managed-process.ts'
import { readAgentState } from '../agent/cli/session.ts'
import { isProcessAlive } from '../shared/process-alive.ts'
import { openHome } from '../shared/home.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, runMesh, startReady, within } from './support/processes.ts'

const modelsFolder = fileURLToPath(new URL('../models', import.meta.url))

interface Host {
  readonly home: string
  readonly process: ManagedProcess
  readonly url: string
  readonly pids: Record<string, number>
  readonly serving: string[]
  readonly join: { pool: string; lines: string[] }[]
}

const startHost = async (t: TestContext, home: string, ...more: string[]): Promise<Host> => {
  const { process, info } = await startReady(t, {
    name: 'up',
    program: 'mesh',
    args: ['up', '--json', '--port', '0', '--relay-port', '0', '--threads', '1', ...more],
    home,
    stopMs: 20_000,
  })
  return { home, process, ...(info as Pick<Host, 'url' | 'pids' | 'serving' | 'join'>) }
}

const allGone = (pids: readonly number[]): Promise<true> =>
  eventually(15_000, 'every process is gone', () => (pids.some(isProcessAlive) ? undefined : true))

const configOf = (home: string): string => readFileSync(openHome(home).config, 'utf8')

/** A member of a group that is hosted elsewhere cannot lose it by `mesh up`, and joining once more changes nothing. */
const refusesMember = async (home: string, url: string): Promise<void> => {
  const before = configOf(home)
  const { code, stderr } = await runMesh(['up', '--port', '0', '--relay-port', '0'], { home })
  assert.equal(code, 3)
  assert.match(
    stderr,
    /^error: this device uses the control plane at https:\/\/[\d.:]+ for pool home; mesh up would start another one here\nhint: mesh start /,
  )
  assert.equal(configOf(home), before)
  assert.ok(before.includes(new URL(url).port))
}

/** A device has one control plane: a pool at another one would cost it its pools. */
const refusesPoolElsewhere = async (home: string, other: string): Promise<void> => {
  await mesh(['init', '--network-id', 'home', '--name', 'Other', '--control-plane', 'http://127.0.0.1:9'], {
    home: other,
  })
  await mesh(['pool-create', '--name', 'theirs'], { home: other })
  const invite = (await mesh(['pool-invite'], { home: other })).trim()
  const before = configOf(home)
  const { code, stderr } = await runMesh(['join', invite, '-d'], { home })
  assert.equal(code, 3)
  assert.match(
    stderr,
    /^error: the control plane at \S+, which this device uses for its other pools, does not know the pool of the invite\nhint: .*MESHNET_HOME=FOLDER mesh join .*--control-plane http/,
  )
  assert.equal(configOf(home), before)
}

describe('mesh up', () => {
  it('makes device and pool, and says what the others run', { timeout: 300_000 }, async (t) => {
    const root = temporaryFolder(t)
    const host = await startHost(t, join(root, 'a'), '--name', 'Desktop')
    assert.deepEqual(
      host.join.map(({ pool }) => pool),
      ['home'],
    )
    assert.deepEqual(host.serving, ['tiny-story'])
    // the pool also serves a model whose files the other device does not have
    symlinkSync(join(modelsFolder, 'tiny-story'), join(root, 'other'))
    await mesh(['join-ring', '--model-dir', join(root, 'other')], { home: host.home })
    // the printed lines, as they are, on this machine
    const b = join(root, 'b')
    const [joinLine, askLine] = host.join[0].lines
    assert.match(joinLine, /^mesh join mesh-invite:[\w-]+ -d$/)
    assert.equal(askLine, 'mesh inference "Once upon a time"')
    const { info } = await startReady(t, {
      name: 'agent b',
      program: 'mesh',
      args: ['join', joinLine.split(' ')[2], '--name', 'Laptop', '--json', '--threads', '1'],
      home: b,
    })
    assert.deepEqual(
      [info.serving, info.notes],
      [
        ['tiny-story'],
        [
          'the pool also serves other, whose files are not on this device; to help with it: ' +
            'mesh join-ring --model-id other --model-dir FOLDER',
        ],
      ],
    )
    const peers = JSON.parse(await mesh(['pool-peers', '--json'], { home: b })) as { name: string; role: string }[]
    assert.deepEqual(peers.map(({ name, role }) => `${name} ${role}`).toSorted(), ['Desktop admin', 'Laptop member'])
    // what the other device lacks stands in nobody's way
    await eventually(60_000, 'both serve together, though nobody said join-ring', async () => {
      const rings = JSON.parse(await mesh(['ring-status', '--json'], { home: b })) as {
        model_id: string
        status: string
        world_size: number
      }[]
      const sizes = Object.fromEntries(
        rings.map(({ model_id: model, status, world_size: size }) => [model, status === 'active' ? size : 0]),
      )
      return (sizes['tiny-story'] === 2 && sizes.other === 1) || undefined
    })
    assert.match(readFileSync(join(openHome(host.home).logs, 'control-plane.log'), 'utf8'), /control plane ready/)
    await refusesMember(b, host.url)
    await refusesPoolElsewhere(b, join(root, 'c'))
  })

  it('a part that dies is started again, at the same address', { timeout: 300_000 }, async (t) => {
    const host = await startHost(t, join(temporaryFolder(t), 'a'))
    process.kill(host.pids.control_plane, 'SIGKILL')
    process.kill(host.pids.agent, 'SIGKILL')
    const state = await eventually(30_000, 'a new agent reaches the new control plane', () => {
      const now = readAgentState(openHome(host.home))
      return now !== undefined && now.pid !== host.pids.agent && now.controlPlane.connected ? now : undefined
    })
    assert.equal(state.controlPlane.url, host.url)
    assert.match(
      host.process.tail().join('\n'),
      /control plane ended \(SIGKILL\).*\n(?:.*\n)*?control plane runs again/,
    )
    const parts = [host.pids.relay, state.pid]
    assert.equal((await within(20_000, 'it stops', host.process.stop())).code, 0)
    await allGone(parts)
  })

  it('killed outright, it leaves no process', { timeout: 300_000 }, async (t) => {
    const host = await startHost(t, join(temporaryFolder(t), 'a'))
    host.process.signal('SIGKILL')
    await allGone(Object.values(host.pids))
  })

  it('a port that is taken ends it with the reason and without a process', { timeout: 300_000 }, async (t) => {
    const root = temporaryFolder(t)
    const host = await startHost(t, join(root, 'a'))
    const port = new URL(host.url).port
    const home = join(root, 'b')
    await mesh(['init', '--network-id', 'home', '--name', 'Desktop'], { home })
    const before = configOf(home)
    const other = ['up', '--port', port, '--relay-port', '0', '--name', 'Other']
    assert.match((await runMesh(other, { home })).stderr, /its name would become "Other"\nhint: add --yes/)
    const { code, stderr } = await runMesh([...other, '--yes'], { home })
    assert.equal(code, 3)
    assert.match(
      stderr,
      new RegExp(`error: control plane ended .*port ${port} is in use\nhint: choose another with --port`),
    )
    assert.equal(configOf(home), before, 'what failed changed nothing')
  })
})
