/** A whole agent in this process, beside real control planes: what it follows while it runs, and what it leaves behind. */
import assert from 'node:assert/strict'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import type { Client } from '../../shared/api/client.ts'
import { MeshError } from '../../shared/errors.ts'
import { type Home, openHome } from '../../shared/home.ts'
import { type ControlPlaneId, parseControlPlaneId } from '../../shared/ids.ts'
import { createLogger, silentLogger } from '../../shared/log.ts'
import type { AgentState } from '../../shared/schema/agent-state.ts'
import { afterwards, temporaryFolder } from '../../test/support/homes.ts'
import { eventually, startReady, within } from '../../test/support/processes.ts'
import { readAgentState } from '../cli/session.ts'
import { createDeviceClient } from '../device/control-plane.ts'
import { loadDevice, saveDevice } from '../device/device.ts'
import { readClock } from '../device/elapsed.ts'
import { changeLock } from '../device/lock-store.ts'
import { lock } from '../device/resource-lock.ts'
import { type DaemonOptions, runDaemon } from './daemon.ts'
import { type ControlHandlers, handle } from './message-handlers.ts'

interface Plane {
  readonly url: string
  readonly key: ControlPlaneId
  stop(): Promise<unknown>
}

const startPlane = async (t: TestContext): Promise<Plane> => {
  const { info, process } = await startReady(t, {
    name: 'control plane',
    program: 'mesh',
    args: ['control-plane', '--port', '0', '--json'],
    home: temporaryFolder(t),
  })
  const key = parseControlPlaneId(String(info.control_plane_key))
  return { url: String(info.url), key, stop: () => process.stop() }
}

const configAt = (name: string, { url, key }: Pick<Plane, 'url'> & Partial<Plane>) => ({
  networkId: 'home',
  name,
  controlPlaneUrl: url,
  controlPlaneKey: key,
})

interface Agent {
  readonly ready: Promise<void>
  /** Settles when it is gone. */
  readonly ended: Promise<void>
  stop(): Promise<void>
}

const startAgent = (t: TestContext, home: Home, change: Partial<DaemonOptions> = {}): Agent => {
  const end = new AbortController()
  const ready = Promise.withResolvers<void>()
  const ended = runDaemon({
    home,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    relays: [],
    announce: [],
    discovery: 'none',
    backend: 'onnx',
    threads: 1,
    spinMs: 0,
    stepTimeoutMs: 2000,
    collective: { algorithm: 'auto', wire: 'auto' },
    carrier: 'auto',
    logger: silentLogger(),
    signal: end.signal,
    onReady: () => ready.resolve(),
    ...change,
  })
  ended.catch(ready.reject)
  ready.promise.catch(() => {}) // whoever waits for it is told
  const stop = (): Promise<void> => {
    end.abort()
    return within(20_000, 'the agent ends', ended)
  }
  afterwards(t, () => stop().catch(() => {}))
  return { ready: ready.promise, ended, stop }
}

const until = (home: Home, what: string, isSo: (state: AgentState) => boolean): Promise<AgentState> =>
  eventually(30_000, what, () => {
    const state = readAgentState(home)
    return state !== undefined && isSo(state) ? state : undefined
  })

const isAt =
  (plane: Plane) =>
  ({ controlPlane }: AgentState): boolean =>
    controlPlane.connected && controlPlane.url === plane.url

const nobody = 'http://127.0.0.1:1'

describe('agent', () => {
  it('follows what commands change while it runs: name, control plane with its key, lock; and says where it is', async (t) => {
    const [first, second] = await Promise.all([startPlane(t), startPlane(t)])
    const home = openHome(temporaryFolder(t))
    const device = saveDevice(home, configAt('Before', { url: first.url }))
    const locked = changeLock(home, device, (before) => lock(before, { memoryBytes: 1e6 }, readClock()))
    startAgent(t, home)
    await until(home, 'it is at the first', isAt(first))
    assert.equal(loadDevice(home).config.controlPlaneKey, first.key, 'it knows it by its key now')

    // as `mesh init` does
    saveDevice(home, configAt('After', second))
    await first.stop()
    await until(home, 'it turned to the second', isAt(second))
    const client: Client = createDeviceClient({ home, device: loadDevice(home) })
    assert.equal((await client.call('getDevice', {})).name, 'After')
    await eventually(10_000, 'the lock is recorded there', async () => {
      const { statement } = await client.call('getLock', {})
      return statement === locked.after?.statement ? true : undefined
    })

    saveDevice(home, configAt('After', { url: nobody }))
    await second.stop()
    const away = await until(home, 'it waits at the last one', ({ controlPlane: { url } }) => url === nobody)
    saveDevice(home, configAt('After', { url: `${nobody}/other` }))
    // refused there as well: the same words, of another address
    const next = await until(home, 'it waits at another', ({ controlPlane: { url } }) => url === `${nobody}/other`)
    assert.deepEqual(
      [away, next].map(({ controlPlane: { connected } }) => connected),
      [false, false],
    )
  })

  it('what fails to start leaves nothing: neither lock nor port nor state; the next one runs, and ends as cleanly', async (t) => {
    const home = openHome(temporaryFolder(t))
    saveDevice(home, configAt('Laptop', { url: nobody }))
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as { port: number }
    const listen = [`/ip4/127.0.0.1/tcp/${port}`]
    await assert.rejects(startAgent(t, home, { listen }).ended, { code: 'portInUse' })
    await new Promise((resolve) => taken.close(resolve))

    writeFileSync(home.pools, 'no folder')
    await assert.rejects(startAgent(t, home, { listen }).ended, MeshError)
    rmSync(home.pools)

    const agent = startAgent(t, home, { listen })
    await agent.ready
    await assert.rejects(startAgent(t, home).ended, { code: 'agentAlreadyRunning' })
    await until(home, 'it says that it runs', () => true)
    await agent.stop()
    assert.equal(existsSync(home.agentState), false)
    const again = startAgent(t, home, { listen })
    await again.ready
    await again.stop()
  })
})

describe('messages of the control plane', () => {
  it('a handler that fails costs a line in the log, at once or later: of others a warning, of ours an error', async () => {
    const lines: { level: number; type: string; msg: string }[] = []
    const logger = createLogger('agent', 'info', { write: (line) => void lines.push(JSON.parse(line) as never) })
    const failing: Partial<ControlHandlers> = {
      'ring-left': () => {
        throw new MeshError('epochStale', { got: 1, want: 2 })
      },
      certificate: () => Promise.reject(new MeshError('notInitialised', { home: 'h' })),
      'job-cancel': () => {
        throw new TypeError('a defect')
      },
      'report-kept': () => Promise.reject(new TypeError('another')),
    }
    const handlers = failing as ControlHandlers
    await handle(handlers, { type: 'ring-left', ringId: 'r' }, logger)
    await handle(handlers, { type: 'certificate', poolId: 'p', certificate: 'c' }, logger)
    await handle(handlers, { type: 'job-cancel', jobId: 'j' }, logger)
    await handle(handlers, { type: 'report-kept', jobId: 'j' }, logger)
    assert.deepEqual(
      lines.map(({ level, type }) => [level, type]),
      [
        [40, 'ring-left'],
        [40, 'certificate'],
        [50, 'job-cancel'],
        [50, 'report-kept'],
      ],
    )
  })
})
