import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FairQueue, type Turn } from './fair-queue.ts'
import { RingSpeed } from './ring-speed.ts'

const failed = { tokens: 0, received: 0, context: 512 }

test('speed: a failed job costs its time at the pace of those that ended well, something at least, the context at most', () => {
  const speed = new RingSpeed()
  assert.equal(speed.cost({ ...failed, ms: 1000 }), 20) // nothing is known yet
  assert.equal(speed.cost({ tokens: 100, received: 50, ms: 1000 }), 100)
  assert.equal(speed.cost({ ...failed, ms: 1000 }), 100)
  assert.equal(speed.cost({ ...failed, ms: 0 }), 1)
  assert.equal(speed.cost({ ...failed, ms: -5 }), 1) // the clock was set back
  assert.equal(speed.cost({ ...failed, ms: 0, received: 7 }), 7)
  assert.equal(speed.cost({ ...failed, ms: 1e9 }), 512)
  assert.equal(speed.cost({ tokens: 0, received: 0, ms: 1e4 }), 1000)
  assert.equal(speed.cost({ tokens: 10, received: 5, ms: 0 }), 10)
  assert.equal(speed.cost({ tokens: 300, received: 5, ms: 1000 }), 300)
  // (0.9 * 100 + 300) tokens in (0.9 * 1000 + 1000) ms
  assert.ok(Math.abs(speed.cost({ ...failed, ms: 1000 }) - 390 / 1.9) < 1e-9)
})

test('speed: of two who always wait, one whose jobs fail after half a second gets no more of the time than the other', () => {
  const [speed, queue] = [new RingSpeed(), new FairQueue()]
  const had = new Map([
    ['honest', 0],
    ['bad', 0],
  ])
  const flows = [...had.keys()].map((flow) => ({ flow, weight: 1, since: 0 }))
  for (let turn = 0; turn < 2000; turn++) {
    const next = queue.begin(flows) as Turn
    const ms = next.flow === 'bad' ? 500 : 4000
    had.set(next.flow, (had.get(next.flow) ?? 0) + ms)
    queue.end(next, speed.cost(next.flow === 'bad' ? { ...failed, ms } : { tokens: 100, received: 80, ms }))
  }
  const [honest, bad] = [...had.values()]
  assert.ok(Math.abs(bad / honest - 1) < 0.02, `${bad} ms against ${honest} ms`)
})
