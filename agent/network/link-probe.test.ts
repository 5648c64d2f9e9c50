/** Measuring of links over real sockets, also of a slow one. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { connect, createServer, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { silentLogger } from '../../shared/log.ts'
import type { RingEpoch, RingLink } from '../../shared/schema/ring.ts'
import { dtypes, phases } from '../../shared/wire/frame.ts'
import { assumedFigures, choose, costOf, slowestOf } from '../collective/chooser.ts'
import { checkAllReduce } from '../collective/test/contract.ts'
import { probeLinks } from '../links/link-probe.ts'
import { createRingCollective } from '../collective/ring.ts'
import type { RingChannel } from './ring-channel.ts'
import { createTestPool, type TestPool } from './test/pool-of-nodes.ts'

const logger = silentLogger()
/** A busy machine takes its time; what is not measured in a round counts as assumed. */
const busyRoundMs = 20_000

interface Slowness {
  /** One way. */
  readonly delayMs: number
  /** Each way; default: no limit. */
  readonly bytesPerSecond?: number
}

/** Forwards to a port and lets every byte arrive as late as on a link of that latency and bandwidth. */
const startSlowProxy = async (
  t: TestContext,
  port: number,
  { delayMs, bytesPerSecond = Infinity }: Slowness,
): Promise<number> => {
  const sockets = new Set<Socket>()
  const forward = (from: Socket, to: Socket): void => {
    const waiting: { readonly bytes: Buffer; readonly at: number }[] = []
    let freeAt = 0
    let timer: NodeJS.Timeout | undefined
    const deliver = (): void => {
      timer = undefined
      while (waiting.length > 0 && waiting[0].at <= performance.now())
        to.write((waiting.shift() as { bytes: Buffer }).bytes)
      if (waiting.length > 0) timer = setTimeout(deliver, Math.max(0, waiting[0].at - performance.now()))
    }
    from
      .on('data', (bytes) => {
        // the link is busy with what came before; then come these bytes, and then the way
        freeAt = Math.max(performance.now(), freeAt) + (bytes.length / bytesPerSecond) * 1000
        waiting.push({ bytes, at: freeAt + delayMs })
        timer ??= setTimeout(deliver, delayMs)
      })
      .on('error', () => {})
      .on('close', () => {
        clearTimeout(timer)
        to.destroy()
      })
  }
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from.setNoDelay(true))
      forward(from, to)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  return address.port
}

/** The ring, with one member behind a slow link. */
const behindProxy = async (
  t: TestContext,
  pool: TestPool,
  ring: RingEpoch,
  { rank, ...slowness }: Slowness & { readonly rank: number },
): Promise<RingEpoch> => {
  const node = pool.nodes[rank].node.addresses()[0]
  const port = await startSlowProxy(t, Number(/tcp\/(\d+)/.exec(node)?.[1]), slowness)
  return {
    ...ring,
    members: ring.members.map((member) =>
      member.rank === rank ? { ...member, addresses: [`/ip4/127.0.0.1/tcp/${port}`] } : member,
    ),
  }
}

const poolOf = async (t: TestContext, count: number): Promise<TestPool> => {
  const pool = await createTestPool(count)
  t.after(() => pool.stop())
  return pool
}

const probed = async (
  t: TestContext,
  pool: TestPool,
  ring: RingEpoch,
): Promise<{ readonly channels: RingChannel[]; readonly tables: RingLink[][] }> => {
  const channels = await pool.connect(
    ring,
    ring.members.map(({ rank }) => rank),
  )
  t.after(() => Promise.all(channels.map((channel) => channel.close())))
  return {
    channels,
    tables: await Promise.all(
      channels.map((channel) =>
        probeLinks(channel, { logger, roundMs: busyRoundMs, pathTo: (rank) => channel.pathTo(rank) }),
      ),
    ),
  }
}

test(
  'probe over libp2p: five ranks know all links by few bytes, and sum on them afterwards',
  { timeout: 300_000 },
  async (t) => {
    const pool = await poolOf(t, 5)
    const channels = await pool.connect(pool.ring([0, 1, 2, 3, 4]), [0, 1, 2, 3, 4])
    t.after(() => Promise.all(channels.map((channel) => channel.close())))
    const started = performance.now()
    const before = channels.map(({ bytesSent }) => bytesSent)
    const tables = await Promise.all(
      channels.map((channel) =>
        probeLinks(channel, { logger, roundMs: busyRoundMs, pathTo: (rank) => channel.pathTo(rank) }),
      ),
    )
    const tookMs = performance.now() - started
    // each way of four links at most the transfers of 16 KiB to 2 MiB: less than a second of a quiet machine
    for (const [rank, { bytesSent }] of channels.entries())
      assert.ok(bytesSent - before[rank] < 4 * 4 * 2 ** 20, `${bytesSent - before[rank]} bytes`)
    assert.equal(tables[0].length, 10)
    for (const table of tables) assert.deepEqual(table, tables[0])
    for (const { measured, path, roundTripMs, bytesPerSecond } of tables[0]) {
      assert.deepEqual([measured, path], [true, 'direct'])
      // three of five round trips took as long, and 16 KiB were sent at least
      assert.ok(
        3 * roundTripMs < tookMs && 2 ** 14 / bytesPerSecond < tookMs / 1000,
        `${roundTripMs} ms, ${bytesPerSecond} B/s`,
      )
    }
    await checkAllReduce(
      channels.map((channel) => createRingCollective(channel)),
      10_000,
    )
  },
)

test(
  'probe over libp2p: a link of 150 ms one way is measured as 300 ms, the others stay quick, and the figures decide',
  { timeout: 300_000 },
  async (t) => {
    const pool = await poolOf(t, 3)
    // rank 1 is dialled by rank 0 over the slow way; ranks 1 and 2 speak directly
    const ring = await behindProxy(t, pool, pool.ring([0, 1, 2]), { rank: 1, delayMs: 150 })
    const {
      tables: [table, ...others],
    } = await probed(t, pool, ring)
    for (const other of others) assert.deepEqual(other, table)
    const [slow, , quick] = table
    assert.ok(slow.roundTripMs >= 300 && slow.roundTripMs < 600, `${slow.roundTripMs} ms`)
    assert.ok(quick.roundTripMs < slow.roundTripMs / 2, `${quick.roundTripMs} ms`)
    assert.equal(slowestOf(table).roundTripMs, slow.roundTripMs)
    assert.equal(choose(3, 8192, costOf(slowestOf(table))), 'direct')
  },
)

test('probe over libp2p: a link of 5 MB/s and 5 ms is measured as such', { timeout: 300_000 }, async (t) => {
  const pool = await poolOf(t, 2)
  const seen: RingLink[] = []
  const isSo = ({ roundTripMs, bytesPerSecond }: RingLink): boolean =>
    roundTripMs < 50 && bytesPerSecond > 1e6 && bytesPerSecond < 5.5e6
  // other work on the machine may spoil one; it does not spoil all
  for (let epoch = 1; epoch <= 20 && !seen.some(isSo); epoch++) {
    const ring = await behindProxy(t, pool, pool.ring([0, 1], epoch), { rank: 1, delayMs: 5, bytesPerSecond: 5e6 })
    const {
      tables: [[link]],
      channels,
    } = await probed(t, pool, ring)
    await Promise.all(channels.map((channel) => channel.close()))
    assert.ok(link.measured && link.roundTripMs >= 10, `${link.roundTripMs} ms`)
    seen.push(link)
  }
  assert.ok(seen.some(isSo), JSON.stringify(seen))
})

test(
  'probe over libp2p: a rank that sends garbage costs itself figures, and its link stays',
  { timeout: 300_000 },
  async (t) => {
    const pool = await poolOf(t, 2)
    const channels = await pool.connect(pool.ring([0, 1]), [0, 1])
    t.after(() => Promise.all(channels.map((channel) => channel.close())))
    const garbage = (operation: number, chunk: number): Promise<void> =>
      channels[1].send(
        0,
        { job: operation > 1 ? 0xffff_ffff : 0, step: 0, operation: operation % 2, phase: phases.none, chunk },
        { dtype: dtypes.f16, bytes: new Uint8Array(randomBytes(chunk * 1000)) },
      )
    const probing = probeLinks(channels[0], { logger, roundMs: 300 })
    for (let operation = 0; operation < 4; operation++)
      for (let chunk = 0; chunk < 50; chunk++) await garbage(operation, chunk)
    assert.deepEqual(await probing, [{ from: 0, to: 1, ...assumedFigures, measured: false }])
    await checkAllReduce(
      channels.map((channel) => createRingCollective(channel)),
      1000,
    )
  },
)

test('probe over libp2p: a new epoch is measured anew', { timeout: 300_000 }, async (t) => {
  const pool = await poolOf(t, 2)
  const first = await probed(t, pool, pool.ring([0, 1], 1))
  await Promise.all(first.channels.map((channel) => channel.close()))
  const { tables } = await probed(t, pool, pool.ring([0, 1], 2))
  assert.deepEqual(tables[1], tables[0])
  assert.ok(tables[0][0].measured)
  assert.notDeepEqual(tables[0], first.tables[0])
})
