import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Chunk, type MessageStream, readMessage, sendMessage } from './message-stream.ts'

type Listener = (event: { readonly data: Chunk }) => void

/** A stream of which the test says what arrives. */
const openStream = (): MessageStream & {
  readonly sent: Uint8Array[]
  readonly kept: Uint8Array[]
  readonly listening: number
  deliver(data: Chunk): void
  end(how: 'close' | 'remoteCloseWrite'): void
} => {
  const listeners = new Map<string, Set<Listener>>()
  const [sent, kept]: [Uint8Array[], Uint8Array[]] = [[], []]
  const tell = (type: string, data: Chunk): void =>
    [...(listeners.get(type) ?? [])].forEach((listener) => listener({ data }))
  return {
    sent,
    kept,
    get listening() {
      return [...listeners.values()].reduce((sum, { size }) => sum + size, 0)
    },
    send: (data) => sent.push(data),
    unshift: (data) => void kept.push(data),
    addEventListener: (type: string, listener: Listener) =>
      void listeners.set(type, (listeners.get(type) ?? new Set()).add(listener)),
    removeEventListener: (type: string, listener: Listener) => void listeners.get(type)?.delete(listener),
    deliver: (data) => tell('message', data),
    end: (how) => tell(how, new Uint8Array()),
  }
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)
const never = new AbortController().signal

test('message: length as u32, little-endian, then the bytes', () => {
  const stream = openStream()
  sendMessage(stream, bytes(7, 8, 9))
  sendMessage(stream, new Uint8Array(0x1_02))
  assert.deepEqual(stream.sent[0], bytes(3, 0, 0, 0, 7, 8, 9))
  assert.deepEqual([stream.sent[1].length, ...stream.sent[1].subarray(0, 4)], [0x1_06, 2, 1, 0, 0])
})

test('message: read whole however it is cut, and what comes behind it is kept', async () => {
  const message = bytes(3, 0, 0, 0, 7, 8, 9, 1, 2)
  for (let first = 0; first <= message.length; first++)
    for (let second = first; second <= message.length; second++) {
      const stream = openStream()
      const read = readMessage(stream, 3, never)
      const cut = [message.subarray(0, first), message.subarray(first, second), message.subarray(second)]
      stream.deliver(cut)
      assert.deepEqual(await read, bytes(7, 8, 9), `${first} ${second}`)
      assert.deepEqual(stream.kept, [bytes(1, 2)], `${first} ${second}`)
      assert.equal(stream.listening, 0)
    }
  const stream = openStream()
  const read = readMessage(stream, 3, never)
  for (const byte of message.subarray(0, 7)) stream.deliver(bytes(byte))
  assert.deepEqual(await read, bytes(7, 8, 9))
  assert.deepEqual(stream.kept, [], 'nothing came behind it')
})

test('message: an empty one is one', async () => {
  const stream = openStream()
  const read = readMessage(stream, 0, never)
  stream.deliver(bytes(0, 0, 0, 0))
  assert.deepEqual(await read, bytes())
})

test('message: larger than the limit is refused by its length alone', async () => {
  const stream = openStream()
  const read = readMessage(stream, 2, never)
  stream.deliver(bytes(3, 0, 0, 0))
  await assert.rejects(read, { code: 'frameTooLarge', fields: { gotBytes: 3, limitBytes: 2 } })
  assert.equal(stream.listening, 0)
})

test('message: a stream that ends before it, and a signal, end the reading', async () => {
  for (const how of ['close', 'remoteCloseWrite'] as const) {
    const stream = openStream()
    const read = readMessage(stream, 3, never)
    stream.deliver(bytes(3, 0, 0, 0, 7))
    stream.end(how)
    await assert.rejects(read, { code: 'frameInvalid' })
    assert.equal(stream.listening, 0)
  }
  const stream = openStream()
  const controller = new AbortController()
  const read = readMessage(stream, 3, controller.signal)
  controller.abort(new Error('enough'))
  await assert.rejects(read, /enough/)
  await assert.rejects(readMessage(stream, 3, controller.signal), /enough/)
  assert.equal(stream.listening, 0)
})
