/** The keeper of the memory lock, beside control planes that record what they are told. */
import assert from 'node:assert/strict'
import { it, type TestContext } from 'node:test'
import type { Client } from '../../shared/api/client.ts'
import { openHome } from '../../shared/home.ts'
import { silentLogger } from '../../shared/log.ts'
import { afterwards, temporaryFolder } from '../../test/support/homes.ts'
import { saveDevice } from '../device/device.ts'
import { readClock } from '../device/elapsed.ts'
import { changeLock } from '../device/lock-store.ts'
import { lock } from '../device/resource-lock.ts'
import { LockKeeper } from './lock-keeper.ts'

interface Recorder {
  readonly client: Client
  readonly recorded: string[]
}

/** A control plane that keeps the lock it is told; `answer` may make it slow. */
const recorder = (answer: Promise<void> = Promise.resolve()): Recorder => {
  const recorded: string[] = []
  const call = async (name: string, { body }: { body?: { statement: string } }): Promise<unknown> => {
    await answer
    if (name === 'recordLock') recorded.push(body!.statement)
    return { statement: recorded.at(-1) ?? null }
  }
  return { client: { call } as unknown as Client, recorded }
}

const createKeeper = (
  t: TestContext,
  client: () => Client,
): { readonly keeper: LockKeeper; readonly statement: string } => {
  const home = openHome(temporaryFolder(t))
  const device = saveDevice(home, { networkId: 'home', name: 'a', controlPlaneUrl: 'http://127.0.0.1:1' })
  const { after } = changeLock(home, device, (before) => lock(before, { memoryBytes: 1e6 }, readClock()))
  const keeper = new LockKeeper({ home, device, logger: silentLogger(), client, onChange: () => {} })
  afterwards(t, () => keeper.stop())
  return { keeper, statement: after!.statement }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

it('the lock is told to the control plane that the agent turned to, not to the one it began with', async (t) => {
  const [first, second] = [recorder(), recorder()]
  let current = first
  const { keeper, statement } = createKeeper(t, () => current.client)
  keeper.connected(true)
  await turn()
  assert.deepEqual(first.recorded, [statement])
  keeper.connected(false)
  current = second
  keeper.connected(true)
  await turn()
  assert.deepEqual([first.recorded, second.recorded], [[statement], [statement]])
})

it('what the control plane of before confirms late is not taken for a confirmation of the new one', async (t) => {
  const late = Promise.withResolvers<void>()
  const [first, deaf, second] = [recorder(late.promise), recorder(Promise.reject(new Error('not yet'))), recorder()]
  let current = first
  const { keeper, statement } = createKeeper(t, () => current.client)
  keeper.connected(true)
  current = deaf
  keeper.connected(true)
  late.resolve()
  await turn()
  assert.deepEqual([first.recorded, deaf.recorded], [[statement], []])
  current = second
  keeper.look()
  await turn()
  assert.deepEqual(second.recorded, [statement])
})
