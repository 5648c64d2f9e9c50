import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type Home, openHome } from '../../shared/home.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { signCommitment } from '../../shared/identity/lock-statement.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { type LocalDevice, saveDevice } from './device.ts'
import { advance, type ClockReading } from './elapsed.ts'
import { adoptLock, changeLock, loadLock, saveCountdown, saveLock } from './lock-store.ts'
import { lock, remainingOf, unlock } from './resource-lock.ts'

const hour = 3600e3
const at = (hours: number, bootId = 'a'): ClockReading => ({
  bootId,
  uptimeMs: hours * hour,
  wallMs: 1.8e12 + hours * hour,
})

const create = (t: TestContext): { home: Home; device: LocalDevice } => {
  const home = openHome(temporaryFolder(t))
  return { home, device: saveDevice(home, { networkId: 'home', name: 'a', controlPlaneUrl: 'http://127.0.0.1:1' }) }
}

test('lock store: what was saved is loaded, older statements are cleared away', (t) => {
  const { home, device } = create(t)
  assert.equal(loadLock(home, device), undefined)
  const first = changeLock(home, device, (before) => lock(before, { memoryBytes: 7e9 }, at(0)))
  assert.equal(first.before, undefined)
  assert.deepEqual(loadLock(home, device)?.commitment, first.after?.commitment)
  changeLock(home, device, (before) => unlock(before, at(1)))
  assert.deepEqual(readdirSync(home.locks.folder), ['0000000002.json'])
  assert.equal(remainingOf(loadLock(home, device) ?? assert.fail(), at(2)), 23 * hour)
})

test('lock store: the newest counts, in whatever order the folder tells them', (t) => {
  for (const others of [
    [1, 2, 3, 4, 6, 7, 8, 9],
    [9, 8, 7, 6, 4, 3, 2, 1],
  ]) {
    const { home, device } = create(t)
    for (let hours = 0; hours < 10; hours++)
      changeLock(home, device, (before) =>
        hours % 2 === 0 ? lock(before, { memoryBytes: 7e9 }, at(hours)) : unlock(before, at(hours)),
      )
    const [newest] = readdirSync(home.locks.folder)
    assert.equal(newest, '0000000010.json')
    const text = readFileSync(join(home.locks.folder, newest))
    rmSync(join(home.locks.folder, newest))
    for (const [index, number] of others.entries()) {
      if (index === 4) writeFileSync(join(home.locks.folder, newest), text)
      writeFileSync(join(home.locks.folder, `000000000${number}.json`), 'an older one that was not cleared away')
    }
    assert.equal(loadLock(home, device)?.commitment.sequence, 10)
  }
})

test('lock store: a request that changes nothing writes nothing', (t) => {
  const { home, device } = create(t)
  changeLock(home, device, (before) => lock(before, { memoryBytes: 7e9 }, at(0)))
  const { before, after } = changeLock(home, device, (present) => lock(present, { memoryBytes: 7e9 }, at(1)))
  assert.equal(before, after)
  assert.deepEqual(readdirSync(home.locks.folder), ['0000000001.json'])
})

test('lock store: of two processes with the same number one is first, and the other decides anew', (t) => {
  const { home, device } = create(t)
  let looks = 0
  const { after } = changeLock(home, device, (before) => {
    // another command gets in between looking and writing
    if (++looks === 1) assert.ok(saveLock(home, device, lock(before, { memoryBytes: 5e9 }, at(0))))
    return lock(before, { memoryBytes: 7e9 }, at(0))
  })
  assert.deepEqual([looks, after?.commitment.sequence, after?.commitment.memoryBytes], [2, 2, 7e9])
})

test('lock store: the countdown that was written down goes on, and belongs to its statement alone', (t) => {
  const { home, device } = create(t)
  changeLock(home, device, (before) => lock(before, { memoryBytes: 7e9 }, at(0)))
  const { after } = changeLock(home, device, (before) => unlock(before, at(0)))
  assert.ok(after?.countdown)
  saveCountdown(home, { ...after, countdown: advance(after.countdown, at(10)) })
  // over a reboot
  assert.equal(remainingOf(loadLock(home, device) ?? assert.fail(), { ...at(11, 'b'), uptimeMs: hour }), 13 * hour)
  // off for long: 14 hours are left of what was written down, of the beginning it would be 24
  assert.equal(remainingOf(loadLock(home, device) ?? assert.fail(), { ...at(30, 'b'), uptimeMs: hour }), hour)
  saveCountdown(home, { commitment: after.commitment })
  assert.equal(remainingOf(loadLock(home, device) ?? assert.fail(), { ...at(30, 'b'), uptimeMs: hour }), hour)
  changeLock(home, device, (before) => lock(before, { memoryBytes: 8e9 }, at(11)))
  changeLock(home, device, (before) => unlock(before, at(12)))
  assert.equal(remainingOf(loadLock(home, device) ?? assert.fail(), at(12)), 24 * hour)
})

test('lock store: a file of another device, of another number or damaged is named', (t) => {
  const { home, device } = create(t)
  const { after } = changeLock(home, device, (before) => lock(before, { memoryBytes: 7e9 }, at(0)))
  const file = join(home.locks.folder, '0000000002.json')
  writeFileSync(file, readFileSync(join(home.locks.folder, '0000000001.json')))
  assert.throws(() => loadLock(home, device), {
    code: 'stateUnreadable',
    message: /0000000002\.json: it holds statement 1/,
  })
  writeFileSync(
    file,
    JSON.stringify({ statement: signCommitment(newKeyPair(), { ...after!.commitment, sequence: 2 }) }),
  )
  assert.throws(() => loadLock(home, device), { code: 'stateUnreadable', message: /not of this device/ })
  writeFileSync(file, '{"state')
  assert.throws(() => loadLock(home, device), { code: 'stateUnreadable' })
})

test('lock store: a folder that cannot be listed is named, one that is not there holds nothing', (t) => {
  const { home, device } = create(t)
  assert.equal(loadLock(home, device), undefined)
  rmSync(home.locks.folder, { recursive: true, force: true })
  writeFileSync(home.locks.folder, 'a file')
  assert.throws(() => loadLock(home, device), { code: 'stateUnreadable', message: new RegExp(home.locks.folder) })
})

test('lock store: what a killed process left is ignored, and removed once it is old', (t) => {
  const { home, device } = create(t)
  changeLock(home, device, (before) => lock(before, { memoryBytes: 7e9 }, at(0)))
  const [old, young] = ['0000000002.json.0011.tmp', '0000000002.json.0022.tmp'].map((name) =>
    join(home.locks.folder, name),
  )
  for (const file of [old, young]) writeFileSync(file, '{"sta')
  utimesSync(old, 1000, 1000)
  assert.equal(loadLock(home, device)?.commitment.sequence, 1)
  changeLock(home, device, (before) => unlock(before, at(0)))
  assert.deepEqual(readdirSync(home.locks.folder), ['0000000002.json', '0000000002.json.0022.tmp'])
})

test('lock store: a statement that only the control plane still knows is taken over, its cooldown from the start', (t) => {
  const { home, device } = create(t)
  const cooling = signCommitment(device.key, {
    sequence: 5,
    phase: 'cooling',
    memoryBytes: 3e9,
    cooldownMs: 10 * hour,
    at: 0,
  })
  adoptLock(home, device, cooling, at(100))
  const loaded = loadLock(home, device) ?? assert.fail()
  assert.deepEqual([loaded.commitment.sequence, remainingOf(loaded, at(101))], [5, 9 * hour])
})
