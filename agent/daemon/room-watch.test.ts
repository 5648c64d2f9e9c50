import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../test/support/processes.ts'
import { createSmallDisk, smallDiskImpossible } from '../../test/support/small-disk.ts'
import { onMoreRoom } from './room-watch.ts'

test(
  'room watch: calls once when a full disk has room, and not after it was ended',
  { skip: smallDiskImpossible() },
  async (t) => {
    const disk = createSmallDisk(t, 4)
    disk.fill()
    let [called, ended] = [0, 0]
    onMoreRoom(disk.folder, () => called++, 5)
    onMoreRoom(disk.folder, () => ended++, 5)()
    await new Promise((resolve) => setTimeout(resolve, 50))
    assert.equal(called, 0)
    disk.free()
    await eventually(5000, 'it is noticed', () => called > 0 || undefined)
    await new Promise((resolve) => setTimeout(resolve, 50))
    assert.deepEqual([called, ended], [1, 0])
  },
)
