/**
 * A process that locks, unlocks and locks again without end, as the commands do, until it is killed. Statement n is
 * `locked` where n is odd and `cooling` where it is even, so that whoever looks afterwards knows what each must be.
 * Prints `stored n` when a statement is on disk and `recorded n` when the control plane has it.
 */
import { writeSync } from 'node:fs'
import { createDeviceClient } from '../../agent/device/control-plane.ts'
import { loadDevice } from '../../agent/device/device.ts'
import { readClock } from '../../agent/device/elapsed.ts'
import { changeLock } from '../../agent/device/lock-store.ts'
import { syncLock } from '../../agent/device/lock-sync.ts'
import { lock, unlock } from '../../agent/device/resource-lock.ts'
import { openHome } from '../../shared/home.ts'

export const stepBytes = 1e6

if (import.meta.main) {
  const home = openHome()
  const device = loadDevice(home)
  const client = createDeviceClient({ home, device })
  const say = (text: string): void => void writeSync(1, `${text}\n`)
  await syncLock({ home, device, client }) // what an earlier process could not tell
  say('ready')
  for (;;) {
    const { after } = changeLock(home, device, (before) =>
      before?.commitment.phase === 'locked'
        ? unlock(before, readClock())
        : lock(before, { memoryBytes: (before?.commitment.memoryBytes ?? 0) + stepBytes }, readClock()),
    )
    say(`stored ${after?.commitment.sequence}`)
    await syncLock({ home, device, client })
    say(`recorded ${after?.commitment.sequence}`)
  }
}
