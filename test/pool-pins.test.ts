/** Admins that name the control plane of a pool, and one of them that is removed: commands on a real control plane. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pinOf } from '../agent/cli/pool-pin.ts'
import { loadDevice } from '../agent/device/device.ts'
import { findPool, savePool } from '../agent/device/pools.ts'
import { startPlane } from '../control-plane/test/plane.ts'
import { openHome } from '../shared/home.ts'
import { issueCertificate } from '../shared/identity/pool-certificate.ts'
import { temporaryFolder } from './support/homes.ts'
import { meshHere } from './support/processes.ts'

const json = async <T>(args: readonly string[], home: string): Promise<T> => {
  const { code, stdout, stderr } = await meshHere([...args, '--json'], home)
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout) as T
}

test(
  'pins: who removes the admin that named the control plane names it now; the removed one names none any more',
  { timeout: 300_000 },
  async (t) => {
    const { url } = await startPlane(t)
    const [maker, second] = [temporaryFolder(t), temporaryFolder(t)]
    for (const home of [maker, second])
      await json(
        ['init', '--network-id', 'home', '--name', home === maker ? 'Maker' : 'Second', '--control-plane', url],
        home,
      )
    const { pool_id: poolId } = await json<{ pool_id: string }>(['pool-create', '--name', 'club'], maker)
    const [pool, { deviceId }] = [findPool(openHome(maker), poolId), loadDevice(openHome(second))]
    assert.ok(pool?.rootKey)
    const { rootKey, ...rest } = pool
    savePool(openHome(second), {
      ...rest,
      role: 'admin',
      certificate: issueCertificate(rootKey, { deviceId, role: 'admin' }, Date.now()),
    })
    const heldBy = (home: string): ReturnType<typeof pinOf> => pinOf({ home: openHome(home), now: Date.now }, poolId)
    const first = heldBy(maker)
    assert.deepEqual([first?.number, first?.signedBy], [1, undefined])
    const moved = await json<{ number: number; control_plane_key: string }>(
      ['pool-move', '--control-plane', url, '--yes'],
      second,
    )
    assert.deepEqual(
      [moved.number, moved.control_plane_key, heldBy(second)?.signedBy],
      [2, first?.controlPlaneId, deviceId],
    )
    // the maker has not heard of it yet: the agent would
    assert.equal((await json<{ number: number }>(['pool-move', '--control-plane', url, '--yes'], maker)).number, 3)
    assert.equal((await json<{ number: number }>(['pool-move', '--control-plane', url, '--yes'], second)).number, 4)
    await json(['pool-create', '--name', 'club'], maker) // repeated: hears of the newest, names none
    assert.deepEqual([heldBy(maker)?.number, heldBy(maker)?.signedBy], [4, deviceId])
    const removed = await json<{ kept_control_plane: string }>(['pool-remove', '--device', deviceId], maker)
    assert.equal(removed.kept_control_plane, first?.controlPlaneId)
    assert.deepEqual([heldBy(maker)?.number, heldBy(maker)?.signedBy], [5, undefined])
    const late = await meshHere(['pool-move', '--control-plane', url, '--yes'], second)
    assert.equal(late.code, 7, late.stderr)
    assert.equal(heldBy(maker)?.number, 5)
  },
)
