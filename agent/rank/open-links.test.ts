/**
 * Ranks agree on what carries their sums, over real libp2p nodes: sockets where all can, else streams on all of them.
 */
import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { silentLogger } from '../../shared/log.ts'
import { encodeCbor } from '../../shared/wire/envelope.ts'
import { dtypes, phases } from '../../shared/wire/frame.ts'
import { checkAllReduce } from '../collective/test/contract.ts'
import { createRingCollective } from '../collective/ring.ts'
import type { RingChannel } from '../network/ring-channel.ts'
import { makeLinkCertificate } from '../network/socket-tls.ts'
import { createTestPool, type TestPoolOptions } from '../network/test/pool-of-nodes.ts'
import { SocketEnds } from '../channel/sockets/socket-ends.ts'
import { type LinkCertificate, LinkListener } from '../channel/sockets/tls-sockets.ts'
import { openLinks, type OpenLinksOptions } from './open-links.ts'

/** As on the wire: offers and verdicts. */
const offerTag = { job: 0xffff_fffe, step: 0, operation: 0, phase: phases.none, chunk: 0 }

const setUp = async (t: TestContext, worldSize: number, options: TestPoolOptions = {}): Promise<RingChannel[]> => {
  const pool = await createTestPool(worldSize, options)
  t.after(() => pool.stop())
  const members = Array.from({ length: worldSize }, (_, index) => index)
  const channels = await pool.connect(pool.ring(members), members)
  t.after(() => Promise.all(channels.map((channel) => channel.close())))
  return channels
}

interface Opened {
  readonly reason: string | undefined
  readonly ends: SocketEnds
  readonly tookMs: number
}

type Changes = Partial<Pick<OpenLinksOptions, 'wanted' | 'route' | 'host'>>

/** @param changes what a rank does otherwise; null: it does nothing at all */
const openAll = (
  t: TestContext,
  channels: readonly RingChannel[],
  changes: Readonly<Record<number, Changes | null>> = {},
): Promise<Opened[]> =>
  Promise.all(
    channels
      .filter(({ rank }) => changes[rank] !== null)
      .map(async (channel): Promise<Opened> => {
        const ends = new SocketEnds()
        t.after(() => ends.close())
        const started = performance.now()
        const reason = await openLinks({
          channel,
          host: ends,
          epoch: 1,
          names: channels.map(({ rank }) => `node ${rank}`),
          logger: silentLogger(),
          wanted: true,
          ...changes[channel.rank],
        })
        return { reason, ends, tookMs: performance.now() - started }
      }),
  )

const listeners = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPServerWrap').length

/** All ranks have that reason to stay on streams, within that time, and none listens or has a link any more. */
const checkStreams = async (
  opening: Promise<readonly Opened[]>,
  want: { readonly reason: RegExp; readonly ms: number; readonly listeners: number },
): Promise<void> => {
  const opened = await opening
  for (const { reason, ends, tookMs } of opened) {
    assert.match(reason ?? 'sockets', want.reason)
    assert.ok(tookMs < want.ms, `${tookMs} ms`)
    if (ends.isOpen)
      await assert.rejects(ends.channel.receive(ends.channel.rank === 0 ? 1 : 0, offerTag), { code: 'peerLost' })
  }
  // a handle takes a turn to close
  for (let tries = 0; listeners() > want.listeners && tries < 1000; tries++) await pause(10)
  assert.equal(listeners(), want.listeners)
}

const loopback = new Set(
  Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal }) => internal)
    .map(({ family }) => family),
)

for (const family of loopback)
  for (const worldSize of [2, 3, 4]) {
    test(`links: ${worldSize} ranks that reach each other over ${family} all take sockets`, async (t) => {
      const channels = await setUp(t, worldSize, {
        listen: [family === 'IPv6' ? '/ip6/::1/tcp/0' : '/ip4/127.0.0.1/tcp/0'],
      })
      const before = listeners()
      const opened = await openAll(t, channels)
      assert.deepEqual(
        opened.map(({ reason }) => reason),
        channels.map(() => undefined),
      )
      assert.equal(listeners(), before, 'nobody listens once all are linked')
      await checkAllReduce(
        opened.map(({ ends }) => createRingCollective(ends.channel)),
        1000,
      )
      await checkAllReduce(
        channels.map((channel) => createRingCollective(channel)),
        1000,
      )
    })
  }

/** A rank that can do all but this. */
const unable = (t: TestContext, what: 'listen' | 'connect'): SocketEnds => {
  const ends = new SocketEnds()
  t.after(() => ends.close())
  return Object.assign(ends, { [what]: () => Promise.reject(new Error('out of sockets')) })
}

for (const rank of [0, 2]) {
  test(`links: rank ${rank} wants none: all stay on streams, at once`, async (t) => {
    const channels = await setUp(t, 3, { stepTimeoutMs: 120_000 })
    const before = listeners()
    await checkStreams(openAll(t, channels, { [rank]: { wanted: false } }), {
      reason: new RegExp(`^node ${rank}: switched off here$`),
      ms: 60_000,
      listeners: before,
    })
  })

  for (const what of ['listen', 'connect'] as const) {
    test(`links: rank ${rank} fails to ${what}: all stay on streams`, async (t) => {
      const channels = await setUp(t, 3, { stepTimeoutMs: 1000 })
      const before = listeners()
      await checkStreams(openAll(t, channels, { [rank]: { host: unable(t, what) } }), {
        reason: /out of sockets|not all ranks were linked/,
        ms: 60_000,
        listeners: before,
      })
    })
  }

  test(`links: rank ${rank} never answers: all others stay on streams, and know who it was`, async (t) => {
    const channels = await setUp(t, 3, { stepTimeoutMs: 1000 })
    const before = listeners()
    await checkStreams(openAll(t, channels, { [rank]: null }), {
      reason: new RegExp(`node ${rank}`),
      ms: 60_000,
      listeners: before,
    })
  })

  for (const [what, bytes] of Object.entries({
    'bytes that are no message': Buffer.from('offer!'),
    'port 0': encodeCbor({ port: 0, fingerprint: Array.from({ length: 32 }, () => 'AA').join(':') }),
    'a port that is none': encodeCbor({ port: 70_000, fingerprint: Array.from({ length: 32 }, () => 'AA').join(':') }),
    'a fingerprint that is none': encodeCbor({ port: 4000, fingerprint: 'aa'.repeat(32) }),
    'a fingerprint that is too short': encodeCbor({
      port: 4000,
      fingerprint: Array.from({ length: 20 }, () => 'AA').join(':'),
    }),
  })) {
    test(`links: rank ${rank} offers ${what}: all others stay on streams`, async (t) => {
      const channels = await setUp(t, 3, { stepTimeoutMs: 1000 })
      const before = listeners()
      const others = channels.filter((channel) => channel.rank !== rank)
      for (const other of others) await channels[rank].send(other.rank, offerTag, { dtype: dtypes.bytes, bytes })
      await checkStreams(openAll(t, channels, { [rank]: null }), {
        reason: new RegExp(`node ${rank}`),
        ms: 60_000,
        listeners: before,
      })
    })
  }
}

test('links: a port that cannot be dialled: all stay on streams', async (t) => {
  const channels = await setUp(t, 3, { stepTimeoutMs: 1500 })
  const before = listeners()
  const closed = { route: () => Promise.resolve({ host: '127.0.0.1', port: 1 }) }
  await checkStreams(openAll(t, channels, { 1: closed }), {
    reason: /ECONNREFUSED|not all ranks were linked/,
    ms: 60_000,
    listeners: before,
  })
})

test('links: a port where another one answers: all stay on streams', async (t) => {
  const channels = await setUp(t, 2, { stepTimeoutMs: 1500 })
  const before = listeners()
  const other = await LinkListener.listen((await makeLinkCertificate()) as LinkCertificate, '127.0.0.1')
  const route = () => Promise.resolve({ host: '127.0.0.1', port: other.port })
  t.after(() => other.close())
  await checkStreams(openAll(t, channels, { 0: { route } }), {
    reason: /a certificate that was not announced/,
    ms: 60_000,
    listeners: before + 1,
  })
})

test('links: a rank that dies meanwhile: the others stay on streams at once', async (t) => {
  const channels = await setUp(t, 3, { stepTimeoutMs: 120_000 })
  const before = listeners()
  const dying = setTimeout(() => void channels[2].close(), 100)
  t.after(() => clearTimeout(dying))
  await checkStreams(openAll(t, channels, { 2: null }), { reason: /node 2/, ms: 60_000, listeners: before })
})
