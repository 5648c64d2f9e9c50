/** What `mesh ring-status` says of a ring. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RingNetwork, RingView } from '../../shared/schema/ring.ts'
import { ringText } from './ring-view.ts'

const member = (rank: number, name: string): RingView['members'][number] => ({
  deviceId: String(rank + 1).repeat(64),
  name,
  state: 'ready',
  progress: 1,
  share: 1,
  rank,
  leftNeighbor: '9'.repeat(64),
  rightNeighbor: '8'.repeat(64),
  ranges: {
    kvHeads: { start: rank, end: rank + 1 },
    heads: { start: rank, end: rank + 1 },
    ffn: { start: rank * 32, end: rank * 32 + 32 },
    vocab: { start: 0, end: 0 },
  },
})

const ring: RingView = {
  ringId: 'ring_1',
  poolId: 'a'.repeat(64),
  modelId: 'tiny',
  revision: 'b'.repeat(64),
  quant: 'q8',
  epoch: 3,
  status: 'active',
  reason: '',
  worldSize: 3,
  members: [member(0, 'Anna'), member(1, 'Ben'), member(2, 'Cleo')],
  updatedAt: 0,
}

const pipe = { isTTY: false, columns: 200 }
const network: RingNetwork = {
  links: [
    { from: 0, to: 1, roundTripMs: 0.312, bytesPerSecond: 105.3e6, measured: true, path: 'direct' },
    { from: 0, to: 2, roundTripMs: 41.6, bytesPerSecond: 1.26e6, measured: true, path: 'relayed' },
    { from: 1, to: 2, roundTripMs: 0.6, bytesPerSecond: 80e6, measured: false },
  ],
  slowest: { roundTripMs: 41.6, bytesPerSecond: 1.26e6 },
  collective: 'auto',
  decode: { bytes: 8192, algorithm: 'direct' },
  prefill: { bytes: 2 * 2 ** 20, algorithm: 'ring' },
}

test('ring-status: each link with its figures, and what they lead to', () => {
  const lines = ringText({ ...ring, network }, pipe).split('\n')
  assert.equal(lines[0], 'tiny q8, epoch 3: active')
  assert.deepEqual(lines.slice(5, 10), [
    'link   round trip       bandwidth   path',
    '0 - 1  0.31 ms          842 Mbit/s  direct',
    '0 - 2  42 ms            10 Mbit/s   relayed',
    '1 - 2  assumed 0.60 ms  640 Mbit/s  -',
    'sums: decode 8.19 kB direct, prefill 2.1 MB ring (quickest for 42 ms and 10 Mbit/s)',
  ])
})

test('ring-status: an algorithm that was asked for is named as such', () => {
  const text = ringText(
    { ...ring, network: { ...network, collective: 'ring', decode: { bytes: 8192, algorithm: 'ring' } } },
    pipe,
  )
  assert.match(text, /sums: decode 8\.19 kB ring, prefill 2\.1 MB ring \(--collective ring\)\n$/)
})

test('ring-status: what carries the sums is named, and why it is not the quicker way', () => {
  assert.match(
    ringText({ ...ring, network: { ...network, carrier: 'sockets' } }, pipe),
    /10 Mbit\/s\), over sockets\n$/,
  )
  assert.match(
    ringText(
      {
        ...ring,
        network: { ...network, carrier: 'streams', streamsReason: 'Ben: there is a relay between two ranks' },
      },
      pipe,
    ),
    /, over streams: Ben: there is a relay between two ranks\n$/,
  )
})

test('ring-status: a ring whose links nobody reported has no lines about them', () =>
  assert.ok(!/link|sums/.test(ringText(ring, pipe))))
