import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import type { RingMember, RingView } from '../../shared/schema/ring.ts'
import { type KnownRing, viewOf } from './ring-view.ts'

type Intent = KnownRing['intents'][number]
type Report = KnownRing['reports'] extends ReadonlyMap<string, infer One> ? One : never

const shape = { layers: 2, hidden: 64, heads: 8, kvHeads: 4, headDim: 8, ffn: 704, vocab: 2048, context: 2048 }
const ranges = { kvHeads: [0, 2], ffn: [0, 352], vocab: [0, 1024] } as unknown as RingMember['ranges']
const member = (deviceId: string, rank: number): RingMember =>
  ({ deviceId, name: deviceId.toUpperCase(), peerId: 'p', addresses: [], rank, share: 1, ranges }) as RingMember
const intent = (deviceId: string, change: Partial<Intent> = {}): Intent => ({
  deviceId,
  name: deviceId.toUpperCase(),
  share: 1,
  online: true,
  isMember: true,
  ...change,
})
const loading = { phase: 'linking', bytes: 1, totalBytes: 2 } as const
const failure = { code: 'diskFull', message: 'the disk is full' }
const noRoom = new MeshError('ringTooLarge', {
  modelId: 'tiny',
  quant: 'q8',
  device: 'A',
  lacks: '1 MB',
  needs: '2 MB',
  room: '1 MB',
})

const ring = {
  ringId: 'r',
  poolId: 'f'.repeat(64),
  modelId: 'tiny',
  quant: 'q8' as const,
  model: { modelId: 'tiny', revision: 'a'.repeat(64), weightBytes: 1000, shape },
  epoch: 3,
  members: [member('a', 0), member('b', 1)],
  updatedAt: 77,
}
const known = (change: Partial<KnownRing> = {}): KnownRing => ({
  ring,
  status: 'active',
  reason: '',
  intents: [intent('a'), intent('b')],
  reports: new Map<string, Report>([
    ['a', { state: 'ready', progress: 1 }],
    ['b', { state: 'loading', progress: 0.5, loading }],
  ]),
  certificateOf: (deviceId) => (deviceId === 'a' ? 'certificate of a' : undefined),
  ...change,
})
/** What is shown of `a` where that is known of it. */
const shown = (change: Partial<Intent>, report?: Report): RingView['members'][number] | undefined =>
  viewOf(known({ intents: [intent('a', change)], reports: new Map(report ? [['a', report]] : []) })).members.find(
    ({ deviceId }) => deviceId === 'a',
  )

test('ring view: the ring, and its members by rank with their neighbours', () => {
  const { members, ...rest } = viewOf(known({ intents: [intent('c', { share: 2 }), intent('b'), intent('a')] }))
  assert.deepEqual(rest, {
    ringId: 'r',
    poolId: ring.poolId,
    modelId: 'tiny',
    revision: 'a'.repeat(64),
    quant: 'q8',
    epoch: 3,
    status: 'active',
    reason: '',
    worldSize: 2,
    updatedAt: 77,
  })
  const common = { share: 1, ranges }
  assert.deepEqual(members, [
    {
      ...common,
      deviceId: 'a',
      name: 'A',
      state: 'ready',
      progress: 1,
      rank: 0,
      leftNeighbor: 'b',
      rightNeighbor: 'b',
    },
    {
      ...common,
      deviceId: 'b',
      name: 'B',
      state: 'loading',
      progress: 0.5,
      loading,
      rank: 1,
      leftNeighbor: 'a',
      rightNeighbor: 'a',
    },
    { deviceId: 'c', name: 'C', share: 2, state: 'waiting', progress: 0 },
  ])
})

test('ring view: a member that is away, without a certificate or without room', () => {
  const report: Report = { state: 'ready', progress: 1 }
  const of = (change: Partial<Intent>): unknown[] => {
    const view = shown(change, report)
    return [view?.state, view?.progress, view?.error?.code]
  }
  assert.deepEqual(of({ online: false }), ['offline', 0, undefined])
  assert.deepEqual(of({ online: false, isMember: false, noRoom }), ['offline', 0, undefined])
  assert.deepEqual(of({ isMember: false }), ['failed', 1, 'notMember'])
  assert.deepEqual(of({ isMember: false, noRoom }), ['failed', 1, 'notMember'])
  assert.deepEqual(of({ noRoom }), ['failed', 1, 'ringTooLarge'])
  assert.deepEqual(of({}), ['ready', 1, undefined])
})

test('ring view: why a member failed is its own word; what it loads is shown while it does', () => {
  assert.deepEqual(shown({}, { state: 'failed', progress: 0.2, error: failure })?.error, failure)
  assert.equal(shown({}, { state: 'failed', progress: 0.2, loading })?.loading, undefined)
  assert.equal(shown({}, { state: 'ready', progress: 1, error: failure })?.error, undefined)
  assert.deepEqual(shown({}, { state: 'loading', progress: 0.2, loading })?.loading, loading)
  const away = shown({ online: false }, { state: 'loading', progress: 0.2, loading })
  assert.deepEqual([away?.loading, away?.state], [undefined, 'offline'])
  assert.equal(shown({})?.state, 'waiting')
})

test('ring view: a member that is left out, and how it is tried', () => {
  const leftOut = { since: 5, until: 9, error: failure }
  const plain = { deviceId: 'a', name: 'A', share: 1 }
  const out = { since: 5, retryAt: 9 }
  assert.deepEqual(shown({ leftOut }), { ...plain, state: 'failed', progress: 0, error: failure, leftOut: out })
  const trial = { epoch: 4, state: 'loading', progress: 0.3, loading } as unknown as NonNullable<
    Intent['leftOut']
  >['trial']
  assert.deepEqual(shown({ leftOut: { ...leftOut, trial } }), {
    ...plain,
    state: 'loading',
    progress: 0.3,
    loading,
    error: failure,
    leftOut: out,
  })
  // what is the matter now is said first
  assert.equal(shown({ leftOut, online: false })?.state, 'offline')
  assert.equal(shown({ leftOut, isMember: false })?.error?.code, 'notMember')
  assert.equal(shown({ leftOut, noRoom })?.error?.code, 'ringTooLarge')
  for (const change of [{ online: false }, { isMember: false }, { noRoom }])
    assert.equal(shown({ leftOut, ...change })?.leftOut, undefined)
  // one that is tried first did nothing wrong: it is shown as it loads
  const first = shown({ leftOut: { since: 5, until: 9, trial } })
  assert.deepEqual([first?.state, first?.progress, first?.leftOut], ['loading', 0.3, undefined])
  assert.equal(shown({ leftOut: { since: 5, until: 9 } }, { state: 'ready', progress: 1 })?.state, 'ready')
})

test('ring view: links as rank 0 tells them, and its key while the ring is active and its certificate known', () => {
  const network = { wire: 'f16' } as unknown as NonNullable<Report['network']>
  const ofLeader = (report: Partial<Report>): KnownRing['reports'] =>
    new Map([
      ['a', { state: 'ready', progress: 1, ...report }],
      ['b', { state: 'ready', progress: 1, sealingKey: 'key of b' }],
    ])
  const reports = ofLeader({ network, sealingKey: 'key' })
  assert.deepEqual(viewOf(known({ reports })).network, network)
  assert.deepEqual(viewOf(known({ reports })).sealing, { key: 'key', certificate: 'certificate of a' })
  assert.equal(viewOf(known({ reports, status: 'forming' })).sealing, undefined)
  assert.equal(viewOf(known({ reports, certificateOf: () => undefined })).sealing, undefined)
  const none = viewOf(known({ reports: ofLeader({}) }))
  assert.deepEqual([none.sealing, none.network], [undefined, undefined])
  const empty = viewOf(known({ ring: { ...ring, members: [] }, reports }))
  assert.deepEqual([empty.sealing, empty.network, empty.worldSize], [undefined, undefined, 0])
  const swapped = { ...ring, members: [member('b', 1), member('a', 0)] }
  assert.equal(viewOf(known({ ring: swapped, reports })).sealing?.key, 'key')
})
