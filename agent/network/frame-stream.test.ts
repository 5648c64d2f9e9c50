/** Frames cut out of a byte stream, and what a stream does when the other side does not read. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Stream } from '@libp2p/interface'
import fc from 'fast-check'
import { dtypes, encodeFrameHeader, type FrameHeader, frameKinds, phases } from '../../shared/wire/frame.ts'
import { limits } from '../../shared/limits.ts'
import { within } from '../../test/support/processes.ts'
import { FrameAssembler } from '../channel/frame-assembler.ts'
import { FrameStream, type FrameStreamEvents } from './frame-stream.ts'
import { createTestPool } from './test/pool-of-nodes.ts'

const headerOf = (payloadBytes: number, chunk = 0): FrameHeader => ({
  kind: frameKinds.tensor,
  dtype: dtypes.f32,
  phase: phases.exchange,
  payloadBytes,
  epoch: 1,
  job: 1,
  step: 0,
  operation: 0,
  chunk,
})
const wireOf = (payloads: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat(payloads.flatMap((payload, chunk) => [encodeFrameHeader(headerOf(payload.length, chunk)), payload]))

test('assembler: frames come out whole, whatever pieces the stream is cut into', () => {
  const payloads = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 8 })
  fc.assert(
    fc.property(payloads, fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }), (sent, cuts) => {
      const wire = wireOf(sent)
      const got: { readonly header: FrameHeader; readonly payload: Uint8Array }[] = []
      const assembler = new FrameAssembler((header, payload) => got.push({ header, payload }))
      for (let at = 0, turn = 0; at < wire.length; turn++) {
        const size = cuts[turn % cuts.length]
        assembler.push(wire.subarray(at, at + size))
        at += size
      }
      assert.deepEqual(
        got.map(({ payload }) => Buffer.from(payload)),
        sent.map((payload) => Buffer.from(payload)),
      )
      for (const [chunk, { header, payload }] of got.entries()) {
        assert.deepEqual(header, headerOf(sent[chunk].length, chunk))
        assert.equal(payload.byteOffset, 0, 'aligned memory of its own')
      }
    }),
  )
})

test('assembler: after a bad header nothing more is read', () => {
  let frames = 0
  const assembler = new FrameAssembler(() => frames++)
  const bad = wireOf([new Uint8Array(4)])
  bad[0] = 0
  assert.throws(() => assembler.push(bad), { code: 'frameInvalid' })
  assembler.push(wireOf([new Uint8Array(4)]))
  assert.equal(frames, 0)
})

test('assembler: a size over the limit takes no memory', () => {
  const header = encodeFrameHeader(headerOf(0))
  new DataView(header.buffer).setUint32(8, limits.framePayloadBytes + 1, true)
  const before = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 20; i++) assert.throws(() => new FrameAssembler(() => {}).push(header), { code: 'frameTooLarge' })
  assert.ok(process.memoryUsage().arrayBuffers - before < limits.framePayloadBytes)
})

/** Both ends of a stream between two nodes. */
const streamPair = async (t: TestContext): Promise<{ near: Stream; far: Stream }> => {
  const pool = await createTestPool(2)
  t.after(() => pool.stop())
  const { promise, resolve } = Promise.withResolvers<Stream>()
  await pool.nodes[1].node.libp2p.handle('/test/1.0.0', (stream) => resolve(stream))
  const connection = await pool.nodes[0].node.libp2p.dial(pool.nodes[1].node.libp2p.getMultiaddrs())
  const near = await connection.newStream('/test/1.0.0')
  near.send(Uint8Array.from([1])) // a stream opens with its first bytes
  return { near, far: await promise }
}

const frameStream = (stream: Stream, events: Partial<FrameStreamEvents> = {}, drainMs = 10_000): FrameStream =>
  new FrameStream(stream, {
    events: { frame: () => {}, end: () => {}, ...events },
    drainMs,
    late: () => new Error('late'),
  })

test('stream: the largest frame passes', async (t) => {
  const { near, far } = await streamPair(t)
  const payload = new Uint8Array(limits.framePayloadBytes)
  for (let at = 0; at < payload.length; at += 4096) payload[at] = at >> 12
  const { promise, resolve } = Promise.withResolvers<Uint8Array>()
  far.addEventListener('message', () => frameStream(far, { frame: (_, bytes) => resolve(bytes) }), { once: true })
  await frameStream(near).send(headerOf(payload.length), payload)
  assert.ok(Buffer.from(await within(30_000, 'the frame is there', promise)).equals(payload))
})

test(
  'stream: a reader that stops holds the sender back, again and again, and little is queued',
  { timeout: 300_000 },
  async (t) => {
    const { near, far } = await streamPair(t)
    far.addEventListener('message', () => {})
    const sender = frameStream(near)
    const mebibyte = new Uint8Array(2 ** 20)
    for (let round = 0; round < 3; round++) {
      far.pause()
      let sent = 0
      let held = false
      while (!held && sent < 200) {
        const sending = sender.send(headerOf(mebibyte.length), mebibyte)
        held = await Promise.race([
          sending.then(() => false),
          new Promise<boolean>((resolve) => setTimeout(() => resolve(true), 200)),
        ])
        sent++
        if (held) {
          assert.ok(near.writeBufferLength < 2 * mebibyte.length, `${near.writeBufferLength} bytes wait`)
          far.resume()
          await within(10_000, 'the sender goes on', sending)
        }
      }
      assert.ok(held, `round ${round}: ${sent} MiB went into nowhere`)
    }
  },
)

test('stream: a reader that never reads is given up, and what waits for a lost one ends', async (t) => {
  const { near, far } = await streamPair(t)
  far.addEventListener('message', () => {})
  far.pause()
  const sender = frameStream(near, {}, 200)
  const flood = async (): Promise<never> => {
    for (;;) await sender.send(headerOf(2 ** 20), new Uint8Array(2 ** 20))
  }
  await assert.rejects(flood(), { message: 'late' })
  const patient = frameStream(near)
  const waiting = assert.rejects(patient.send(headerOf(4), new Uint8Array(4)))
  far.abort(new Error('gone'))
  await within(1000, 'the send ends', waiting)
  await assert.rejects(patient.send(headerOf(4), new Uint8Array(4)), /closed/)
})

test('stream: the end is told once, however it comes', async (t) => {
  for (const end of [(far: Stream) => far.close(), (far: Stream) => far.abort(new Error('no'))]) {
    const { near, far } = await streamPair(t)
    const ends: string[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    frameStream(near, {
      end: (error) => {
        ends.push(error.message)
        resolve()
      },
    })
    await end(far)
    await within(2000, 'the end is told', promise)
    near.abort(new Error('after all'))
    assert.equal(ends.length, 1, ends.join())
  }
})
