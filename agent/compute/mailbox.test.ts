import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { type Command, operations } from './command.ts'
import { Mailbox } from './mailbox.ts'

const command: Command = {
  operation: operations.attention,
  layer: 3,
  firstRow: 64,
  rows: 5,
  slot: 2,
  spans: [
    { slot: 2, start: 0, count: 5, position: 40 },
    { slot: 3, start: 5, count: 1, position: 0, planned: 131_072 },
  ],
}

/** Both ends of a mailbox; the words that carry its counts. */
const pair = (): { readonly here: Mailbox; readonly there: Mailbox; readonly words: Int32Array } => {
  const here = new Mailbox()
  return { here, there: new Mailbox(here.memory), words: new Int32Array(here.memory) }
}

test('mailbox: a command arrives whole, its failure comes back as text', async () => {
  const { here, there } = pair()
  const first = here.call(command)
  assert.deepEqual(there.take(0), command)
  there.finish()
  await first
  const second = here.call({ ...command, layer: 4 })
  assert.equal(there.take(1).layer, 4)
  there.finish('no memory: größer')
  await assert.rejects(second, { message: 'no memory: größer' })
})

test('mailbox: a late notification of the last answer is not taken for the next one', async () => {
  const { here, there, words } = pair()
  const first = here.call(command)
  there.take(0)
  there.finish()
  await first
  let answered = false
  const second = here.call(command).then(() => {
    answered = true
  })
  Atomics.notify(words, 1) // what the other side does after it counted up, when it is slow
  for (let i = 0; i < 5; i++) await turn()
  assert.equal(answered, false)
  there.take(1)
  there.finish()
  await second
})

test('mailbox: an answer that is there before we look is taken at once', async () => {
  const { here, there } = pair()
  for (let seen = 0; seen < 100; seen++) {
    const call = here.call({ ...command, rows: seen })
    assert.equal(there.take(seen, seen % 2).rows, seen) // every second time it would look first
    there.finish()
    await call
  }
})
