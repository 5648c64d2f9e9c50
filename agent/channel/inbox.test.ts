/** Frames that came and were not asked for, and those asked for that have not come. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { dtypes, type FrameTag, phases } from '../../shared/wire/frame.ts'
import type { Payload } from './channel.ts'
import { Inbox, type InboxOptions } from './inbox.ts'

const tag = (job: number, step = 0): FrameTag => ({ job, step, operation: 0, phase: phases.none, chunk: 0 })
const payload = (...bytes: number[]): Payload => ({ dtype: dtypes.bytes, bytes: Uint8Array.from(bytes) })
const open = (change: Partial<InboxOptions> = {}): Inbox =>
  new Inbox({ stepTimeoutMs: 60_000, timeout: () => new MeshError('collectiveTimeout', { rank: 1 }), ...change })

/** Memory that an empty frame is counted with. */
const frameBytes = 512

describe('inbox', () => {
  it('a frame is given once, whether it came before it was asked for or after; a second of the same tag is dropped', async () => {
    const inbox = open()
    inbox.put(tag(1), payload(1))
    inbox.put(tag(1), payload(2))
    assert.deepEqual(await inbox.take(tag(1)), payload(1))
    const later = inbox.take(tag(1))
    inbox.put(tag(1), payload(3))
    assert.deepEqual(await later, payload(3))
    const [first, second] = [inbox.take(tag(1, 1)), inbox.take(tag(1, 2))]
    inbox.put(tag(1, 2), payload(5))
    inbox.put(tag(1, 1), payload(4))
    assert.deepEqual(await Promise.all([first, second]), [payload(4), payload(5)])
  })

  it('what nobody asked for is kept up to a bound, each with what it takes besides; what is taken makes room', async () => {
    const inbox = open({ earlyFrameBytes: 2 * frameBytes + 3 })
    inbox.put(tag(1, 0), payload(1))
    inbox.put(tag(1, 1), payload(1, 2))
    const over = { code: 'frameTooLarge', fields: { gotBytes: 3 * frameBytes + 3, limitBytes: 2 * frameBytes + 3 } }
    assert.throws(() => inbox.put(tag(1, 2), payload()), over)
    await inbox.take(tag(1, 0))
    inbox.put(tag(1, 2), payload(1))
    inbox.forget(1)
    inbox.put(tag(2, 0), payload(1))
    inbox.put(tag(2, 1), payload(1, 2))
  })

  it('a forgotten job: what waits ends, what lies there goes, what comes late is dropped; others are left alone', async () => {
    const inbox = open()
    const [gone, kept] = [inbox.take(tag(1)), inbox.take(tag(2))]
    inbox.put(tag(1, 1), payload(1))
    inbox.put(tag(2, 1), payload(2))
    inbox.forget(1)
    await assert.rejects(gone, { code: 'jobCancelled' })
    inbox.put(tag(1, 2), payload(3))
    await assert.rejects(inbox.take(tag(1, 2)), { code: 'jobCancelled' })
    await assert.rejects(inbox.take(tag(1, 1)), { code: 'jobCancelled' })
    inbox.put(tag(2), payload(4))
    assert.deepEqual([await kept, await inbox.take(tag(2, 1))], [payload(4), payload(2)])
  })

  it('the sixteen newest of the forgotten jobs are remembered', async () => {
    const inbox = open()
    for (let job = 0; job <= 16; job++) inbox.forget(job)
    inbox.put(tag(1), payload(1))
    await assert.rejects(inbox.take(tag(1)), { code: 'jobCancelled' })
    inbox.put(tag(0), payload(1))
    assert.deepEqual(await inbox.take(tag(0)), payload(1))
  })

  it('a broken link: what waits and what is asked for fails with the first reason, what lies there is still given', async () => {
    const inbox = open()
    inbox.put(tag(1, 1), payload(1))
    const waiting = inbox.take(tag(1))
    inbox.break(new Error('first'))
    inbox.break(new Error('second'))
    await assert.rejects(waiting, { message: 'first' })
    await assert.rejects(inbox.take(tag(1)), { message: 'first' })
    assert.deepEqual(await inbox.take(tag(1, 1)), payload(1))
  })

  it('each wait has the whole step deadline, whatever waited before it', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    let now = 1000
    t.mock.method(performance, 'now', () => now)
    const pass = (ms: number): void => {
      now += ms
      t.mock.timers.tick(ms)
    }
    const inbox = open({ stepTimeoutMs: 100 })
    const ended: string[] = []
    const take = (name: string, step: number): void =>
      void inbox.take(tag(1, step)).then(
        () => ended.push(`${name} came`),
        (error: MeshError) => ended.push(`${name} ${error.code}`),
      )
    const settled = () => new Promise((resolve) => setImmediate(resolve))
    take('first', 0)
    pass(60)
    take('second', 1)
    pass(39)
    await settled()
    assert.deepEqual(ended, [])
    pass(1)
    await settled()
    assert.deepEqual(ended, ['first collectiveTimeout'])
    pass(59)
    await settled()
    assert.deepEqual(ended, ['first collectiveTimeout'])
    pass(1)
    await settled()
    assert.deepEqual(ended, ['first collectiveTimeout', 'second collectiveTimeout'])
    take('third', 2)
    inbox.put(tag(1, 2), payload(1))
    await settled()
    assert.equal(ended.at(-1), 'third came')
  })
})
