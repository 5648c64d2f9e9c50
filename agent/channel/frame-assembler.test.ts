/** Frames cut out of bytes that come in any pieces, the queue of control messages, and what is said of peers. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import type { RingControl } from '../../shared/wire/envelope.ts'
import { dtypes, encodeFrameHeader, frameHeaderBytes, frameKinds, phases } from '../../shared/wire/frame.ts'
import { ControlQueue } from './control-queue.ts'
import { FrameAssembler } from './frame-assembler.ts'
import { lostPeer, silentPeer, withPeerName, wrongPeer } from './peer-errors.ts'

const frame = (step: number, payload: number[]): Uint8Array => {
  const header = encodeFrameHeader({
    kind: frameKinds.tensor,
    dtype: dtypes.bytes,
    epoch: 1,
    job: 1,
    step,
    operation: 0,
    phase: phases.none,
    chunk: 0,
    payloadBytes: payload.length,
  })
  return Uint8Array.from([...header, ...payload])
}

const cut = (bytes: Uint8Array, size: number): Uint8Array[] =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size))

describe('frame assembler', () => {
  const stream = Uint8Array.from([...frame(1, [1, 2, 3]), ...frame(2, []), ...frame(3, [4])])

  for (const size of [1, 2, frameHeaderBytes - 1, frameHeaderBytes, frameHeaderBytes + 1, 1000])
    it(`pieces of ${size} bytes: every frame comes whole, once, in order, in memory of its size`, () => {
      const got: [number, number[]][] = []
      const asked: number[] = []
      const assembler = new FrameAssembler(
        ({ step }, payload) => got.push([step, [...payload]]),
        (bytes) => {
          asked.push(bytes)
          return new Uint8Array(bytes)
        },
      )
      for (const chunk of cut(stream, size)) assembler.push(chunk)
      assert.deepEqual(got, [
        [1, [1, 2, 3]],
        [2, []],
        [3, [4]],
      ])
      assert.deepEqual(asked, [3, 0, 1])
    })

  it('after a bad frame, or a receiver that throws, nothing more is read', () => {
    const got: number[] = []
    const bad = new FrameAssembler(({ step }) => got.push(step))
    const wrong = frame(1, [])
    wrong.fill(0xff, 0, 8)
    assert.throws(() => bad.push(wrong), MeshError)
    bad.push(frame(2, [1]))
    const refusing = new FrameAssembler(() => {
      got.push(0)
      throw new Error('too much')
    })
    assert.throws(() => refusing.push(frame(1, [1])), { message: 'too much' })
    refusing.push(frame(2, [1]))
    assert.deepEqual(got, [0])
  })
})

describe('control queue', () => {
  const message = (job: number): RingControl => ({ type: 'job-end', job })

  it('what came before the receiver is handed over first, in order; a thousand messages wait and no more', () => {
    const queue = new ControlQueue()
    for (let job = 0; job < 999; job++) queue.message(1, message(job))
    queue.lost(2, new Error('gone'))
    assert.throws(() => queue.message(1, message(1000)), { code: 'overloaded' })
    const got: string[] = []
    queue.receive({
      message: (from, one) => got.push(`${from} ${'job' in one ? one.job : ''}`),
      lost: (from, error) => got.push(`${from} ${error.message}`),
    })
    assert.deepEqual([got.length, got[0], got[998], got[999]], [1000, '1 0', '1 998', '2 gone'])
    for (let job = 0; job < 1001; job++) queue.message(3, message(job))
    assert.equal(got.length, 2001)
    queue.receive({ message: () => assert.fail('handed over before'), lost: () => assert.fail('handed over before') })
  })
})

describe('what is said of a peer', () => {
  const peer = { rank: 2, name: 'Desktop' }

  it('silence is told in seconds, what is wrong with its name', () => {
    assert.deepEqual(silentPeer(peer, 1500).fields, { rank: 2, peer: 'Desktop', seconds: 1.5 })
    assert.deepEqual(wrongPeer(peer, 'odd').fields, { rank: 2, peer: 'Desktop', problem: 'odd' })
    assert.deepEqual(wrongPeer({ rank: 2 }, 'odd').fields, { rank: 2, problem: 'odd' })
  })

  it('a name is added where only the rank was known, and to nothing else', () => {
    const names = ['a', 'b', 'c']
    const named = withPeerName(wrongPeer({ rank: 1 }, 'odd'), names) as MeshError
    assert.deepEqual([named.code, named.fields], ['peerInvalid', { peer: 'b', rank: 1, problem: 'odd' }])
    for (const error of [wrongPeer(peer, 'odd'), new MeshError('peerLost', { rank: 1 }), new Error('ours')])
      assert.equal(withPeerName(error, names), error)
  })

  it('a link that broke: lost, unless its cause is told already or is what the peer sent', () => {
    assert.equal(lostPeer(peer, new Error('reset')).code, 'peerLost')
    assert.deepEqual(lostPeer(peer, new Error('reset')).fields, { peer: 'Desktop', rank: 2, problem: 'reset' })
    assert.equal(lostPeer(peer, new MeshError('internal', { problem: 'p' })).code, 'peerLost')
    const sent = lostPeer(peer, new MeshError('frameInvalid', { problem: 'no magic' }))
    assert.deepEqual([sent.code, sent.fields], ['peerInvalid', { peer: 'Desktop', rank: 2, problem: 'no magic' }])
    for (const code of ['frameTooLarge', 'protocolVersion'] as const)
      assert.equal(lostPeer(peer, new MeshError(code)).code, 'peerInvalid')
    const told = new MeshError('peerRemoved', { peer: 'Desktop' })
    assert.equal(lostPeer(peer, told), told)
  })
})
