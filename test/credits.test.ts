/** Credits with real processes: two agents, prompts from both, and a ledger that somebody tampers with. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { it } from 'node:test'
import Database from 'better-sqlite3'
import { openHome } from '../shared/home.ts'
import type { Printed } from '../shared/printed.ts'
import type { CreditsView, LedgerEntry, QuotaView } from '../shared/schema/credits.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, runMesh, startReady } from './support/processes.ts'

it(
  'credits: every entry is signed by its device, sums are zero, and a changed row is found',
  { timeout: 300_000 },
  async (t) => {
    const root = temporaryFolder(t)
    const [a, b, services] = ['a', 'b', 'services'].map((name) => join(root, name))
    const json = async <T>(home: string, ...args: string[]): Promise<T> =>
      JSON.parse(await mesh([...args, '--json'], { home })) as T
    const control = (port: string): ReturnType<typeof startReady> =>
      startReady(t, {
        name: 'control plane',
        program: 'mesh',
        args: ['control-plane', '--port', port, '--json'],
        home: services,
      })
    const first = await control('0')
    const url = String(first.info.url)
    await mesh(['init', '--network-id', 'home', '--name', 'Desktop', '--control-plane', url], { home: a })
    await mesh(['init', '--network-id', 'home', '--name', 'Laptop', '--control-plane', url], { home: b })
    await mesh(['pool-create', '--name', 'home'], { home: a })
    const start = (name: string, home: string): Promise<unknown> =>
      startReady(t, {
        name,
        program: 'mesh',
        args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1'],
        home,
      })
    await start('desktop', a)
    await mesh(['pool-join', '--invite', (await mesh(['pool-invite'], { home: a })).trim()], { home: b })
    await start('laptop', b)
    for (const home of [a, b]) await mesh(['join-ring', '--model-id', 'tiny-story'], { home })
    await eventually(30_000, 'the ring is active with both', async () => {
      const [ring] = await json<Printed<RingView>[]>(b, 'ring-status')
      return ring?.status === 'active' && ring.world_size === 2 ? ring : undefined
    })
    assert.match(await mesh(['credits'], { home: b }), /nobody has contributed/)

    for (const home of [a, b, b])
      await mesh(['inference', '--prompt', 'Once upon a time', '--seed', '7', '--max-tokens', '16'], { home })
    const entries = await eventually(20_000, 'three jobs are settled', async () => {
      const found = await json<Printed<LedgerEntry>[]>(a, 'ledger')
      return found.length === 9 ? found : undefined
    })
    // 21 tokens went through the layers or were drawn; the last one was not run
    assert.deepEqual(
      entries.map(({ kind, tokens, signature }) => [kind, tokens, signature !== null]),
      Array.from({ length: 3 }, () => [
        ['work', 20, true],
        ['work', 20, true],
        ['use', 21, true],
      ]).flat(),
    )
    assert.ok(entries.every(({ kind, compute_us: computeUs }) => (kind === 'work') === computeUs > 0))
    assert.equal(
      entries.reduce((sum, { amount }) => sum + amount, 0),
      0,
    )
    assert.equal((await mesh(['ledger', '--csv', '--since', '1h'], { home: a })).trim().split('\n').length, 10)

    const { members } = await json<Printed<CreditsView>>(b, 'credits')
    const [desktop, laptop] = ['Desktop', 'Laptop'].map((name) => members.find((member) => member.name === name))
    assert.ok(desktop && laptop && laptop.used === 2 * desktop.used && desktop.earned > 0 && laptop.earned > 0)
    assert.equal(desktop.earned + laptop.earned, desktop.used + laptop.used)
    assert.equal((await json<Printed<QuotaView>>(b, 'quota')).queue_share, laptop.queue_share)
    for (const command of ['credits', 'quota', 'ledger'])
      assert.match(await mesh([command], { home: b }), /Laptop|busy pool|worked/, command)
    const verified = await json<{ entries: number; signed: number; jobs: number }>(b, 'ledger', 'verify')
    assert.deepEqual([verified.entries, verified.signed, verified.jobs], [9, 9, 3])

    await first.process.stop()
    const database = new Database(openHome(services).controlPlane.database)
    assert.throws(() => database.exec('update ledger_entries set amount = amount + 1 where sequence = 4'), /only grows/)
    database.exec(
      'drop trigger ledger_entries_no_update; update ledger_entries set amount = amount + 1 where sequence = 4',
    )
    database.close()
    await control(new URL(url).port)
    const { code, stderr } = await runMesh(['ledger', 'verify'], { home: b })
    assert.match(stderr, /^error: the ledger does not hold at entry 4: its hash does not match/)
    assert.equal(code, 5)
  },
)
