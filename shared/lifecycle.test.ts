import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Lifecycle, onParentGone, untilAborted } from './lifecycle.ts'

test('lifecycle: what was started last stops first, one after the other, and once', async () => {
  const lifecycle = new Lifecycle()
  const stopped: string[] = []
  const gate = Promise.withResolvers<void>()
  lifecycle.add({ name: 'first', stop: () => void stopped.push('first') })
  const second = {
    name: 'second',
    stop: async () => {
      await gate.promise
      stopped.push('second')
    },
  }
  assert.equal(lifecycle.add(second), second)
  const stopping = lifecycle.stop()
  assert.equal(lifecycle.stop(), stopping)
  gate.resolve()
  assert.deepEqual(await stopping, [])
  assert.deepEqual(stopped, ['second', 'first'])
})

test('lifecycle: a part that fails or does not stop is told, and the others stop all the same', async () => {
  const lifecycle = new Lifecycle(20)
  let ended = false
  lifecycle.add({ name: 'good', stop: () => void (ended = true) })
  lifecycle.add({
    name: 'bad',
    stop: () => {
      throw new Error('no')
    },
  })
  lifecycle.add({ name: 'odd', stop: () => Promise.reject('why') })
  lifecycle.add({ name: 'slow', stop: () => new Promise(() => undefined) })
  const problems = await lifecycle.stop()
  assert.deepEqual([problems.length, ended], [3, true])
  assert.match(problems[0], /^slow did not stop within /)
  assert.deepEqual(problems.slice(1), ['odd: why', 'bad: no'])
})

test('lifecycle: waiting for a signal that was given before ends at once', async () => {
  const controller = new AbortController()
  const waiting = untilAborted(controller.signal)
  controller.abort()
  await waiting
  await untilAborted(controller.signal)
})

test('lifecycle: where nobody started this program over a channel nobody is said to be gone', async () => {
  let isCalled = false
  onParentGone(() => (isCalled = true))
  await new Promise((resolve) => setImmediate(resolve))
  assert.ok(!isCalled)
})
