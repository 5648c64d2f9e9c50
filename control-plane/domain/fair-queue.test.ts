import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FairQueue, type Flow, type Turn } from './fair-queue.ts'

const wait = (flow: string, weight = 1, since = 0): Flow => ({ flow, weight, since })
const begin = (queue: FairQueue, ...waiting: Flow[]): Turn => queue.begin(waiting) as Turn

test('fair queue: the least start goes first, then the oldest, then by name', () => {
  const queue = new FairQueue()
  assert.equal(begin(queue, wait('b'), wait('a')).flow, 'a')
  assert.equal(begin(queue, wait('a'), wait('b')).flow, 'a')
  assert.equal(begin(queue, wait('a', 1, 5), wait('b', 1, 4)).flow, 'b')
  queue.end(begin(queue, wait('b')), 1)
  assert.equal(begin(queue, wait('a', 1, 5), wait('b', 1, 4)).flow, 'a')
  assert.equal(queue.begin([]), undefined)
})

test('fair queue: a turn costs its tokens by its weight, from where the turn began', () => {
  const queue = new FairQueue()
  queue.end(begin(queue, wait('heavy', 4)), 100)
  queue.end(begin(queue, wait('light', 2)), 100)
  assert.deepEqual(begin(queue, wait('heavy', 4), wait('light', 2)), { flow: 'heavy', weight: 4, start: 25 })
  queue.end({ flow: 'heavy', weight: 4, start: 25 }, 100)
  // both at 50: the virtual time is that of the turn before
  assert.deepEqual(begin(queue, wait('light', 2, 1), wait('heavy', 4, 2)), { flow: 'light', weight: 2, start: 50 })
})

test('fair queue: who was idle saves nothing up and owes nothing', () => {
  const queue = new FairQueue()
  for (let count = 0; count < 3; count++) queue.end(begin(queue, wait('busy')), 100)
  assert.equal(begin(queue, wait('busy')).start, 300)
  assert.deepEqual(begin(queue, wait('idle')), { flow: 'idle', weight: 1, start: 300 })
})

test('fair queue: what is foreseen takes turns, the running job included, and changes nothing', () => {
  const queue = new FairQueue()
  const running = begin(queue, wait('a'))
  const flows = [
    { ...wait('a'), jobs: ['a1', 'a2', 'a3'] },
    { ...wait('b', 2), jobs: ['b1', 'b2', 'b3'] },
    { ...wait('c'), jobs: [] },
  ]
  const foreseen = ['b1', 'b2', 'a1', 'b3', 'a2', 'a3']
  for (let again = 0; again < 2; again++) assert.deepEqual(queue.foresee(flows, 10, running), foreseen)
  assert.deepEqual(queue.foresee(flows, 10), ['a1', 'b1', 'b2', 'a2', 'b3', 'a3'])
  assert.deepEqual(flows[0].jobs, ['a1', 'a2', 'a3'])
  queue.end(running, 10)
  assert.deepEqual(queue.foresee(flows, 10), foreseen)
  begin(queue, wait('a'))
  assert.deepEqual(queue.foresee(flows, 10)[0], 'a1') // the virtual time of now counts, not that of the beginning
})
