/** Whole rings whose sums go over sockets: what they compute, and what happens when a part of them ends. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { MeshError } from '../../shared/errors.ts'
import type { StepInput } from '../engine/engine.ts'
import { cases, checkReference, creators, openBundledModel, ringKinds } from '../engine/test/bundled-reference.ts'
import { type CreateBackend, openRing, type RankParts, type RingOfEngines } from '../engine/test/ring-of-engines.ts'
import { createTestPool, type TestPool } from '../network/test/pool-of-nodes.ts'
import { type StartedRanks, startRanks } from './test/started-ranks.ts'

/** Processes that this one started. */
const children = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[1] === String(process.pid)
      } catch {
        return false // it ended meanwhile
      }
    })

interface Ring {
  readonly ring: RingOfEngines
  readonly parts: readonly RankParts[]
  readonly pool: TestPool
  readonly ranks: StartedRanks
  /** Of the compute process of each rank that has one. */
  readonly pids: ReadonlyMap<number, number>
}

/** One prompt as a step of a job that nobody else uses. */
const stepOf = (job: number): StepInput => ({
  job,
  step: 0,
  sequences: [{ slot: job, position: 0, tokens: cases[0].prompt_ids, logits: 'last' }],
})

for (const [kind, names] of Object.entries(ringKinds))
  describe(`sums over sockets, ${kind}`, () => {
    let folder: string
    let model: ReturnType<typeof openBundledModel>
    before(() => {
      folder = mkdtempSync(join(tmpdir(), 'mesh-carrier-'))
      model = openBundledModel()
    })
    after(() => {
      model.close()
      rmSync(folder, { recursive: true, force: true })
    })

    const open = async (t: TestContext, worldSize: number, stepTimeoutMs = 120_000): Promise<Ring> => {
      const pool = await createTestPool(worldSize, { stepTimeoutMs })
      t.after(() => pool.stop())
      let parts: readonly RankParts[] = []
      let ranks: StartedRanks | undefined
      const pids = new Map<number, number>()
      let started: Promise<unknown> = Promise.resolve()
      // one after another, so that it is clear whose a process is
      const create = Array.from({ length: worldSize }, (_, rank): CreateBackend => (options) => {
        const backend = started.then(async () => {
          const others = children()
          const made = await creators[names[rank % names.length]](options)
          for (const pid of children()) if (!others.includes(pid)) pids.set(rank, pid)
          return made
        })
        started = backend
        return backend
      })
      const ring = await openRing({
        model,
        shares: Array.from({ length: worldSize }, () => 1),
        quant: 'f32',
        folder,
        create,
        link: async (made) => {
          parts = made
          ranks = await startRanks(pool, made)
          return ranks.engines
        },
      })
      t.after(() => ring.close())
      t.after(() => ranks?.leave())
      assert.deepEqual(
        ranks?.reasons,
        parts.map(() => undefined),
      )
      ranks?.use('sockets')
      return { ring, parts, pool, pids, ranks: ranks as StartedRanks }
    }

    /** The same backends in a later epoch. */
    const again = async (
      t: TestContext,
      { parts, pool, ring }: Ring,
      epoch: number,
    ): Promise<{ readonly ranks: StartedRanks; readonly ring: RingOfEngines }> => {
      const ranks = await startRanks(pool, parts, { epoch })
      t.after(() => ranks.leave())
      assert.deepEqual(
        ranks.reasons,
        parts.map(() => undefined),
      )
      ranks.use('sockets')
      return { ranks, ring: { ...ring, ...ringOf(ranks, parts) } }
    }

    const ringOf = (
      { engines }: StartedRanks,
      parts: readonly RankParts[],
    ): Pick<RingOfEngines, 'engines' | 'step' | 'release'> => {
      let step = 0
      return {
        engines,
        step: async (sequences) => {
          const number = step++
          const results = await Promise.all(engines.map((engine) => engine.step({ job: 2, step: number, sequences })))
          return results[0].rows.map((_, row) => {
            const whole = new Float32Array(model.config.shape.vocab)
            for (const [rank, { rows }] of results.entries())
              whole.set(rows[row].logits, parts[rank].ranges.vocab.start)
            return whole
          })
        },
        release: async (slot) => {
          await Promise.all(engines.map((engine) => engine.release(slot)))
        },
      }
    }

    for (const worldSize of [2, 3]) {
      it(`${worldSize} ranks give the reference: logits within 2e-3 at every position, greedy text identical; nothing goes over streams`, async (t) => {
        const { ring, ranks } = await open(t, worldSize)
        const sent = ranks.channels.map(({ bytesSent }) => bytesSent)
        await checkReference(ring, cases[0], { count: 40 })
        await checkReference(ring, cases[2])
        assert.deepEqual(
          ranks.channels.map(({ bytesSent }) => bytesSent),
          sent,
        )
        assert.ok(
          ranks.engines.every(({ bytesSent }) => bytesSent > 1e6),
          'all of it goes over sockets',
        )
      })
    }

    if (names.length === 1) {
      it('a job that is given up in the middle of a step ends on all ranks, and the next one runs', async (t) => {
        const {
          ring,
          ranks: { engines },
        } = await open(t, 3)
        const running = engines
          .slice(0, 2)
          .map((engine) => assert.rejects(engine.step(stepOf(7)), { code: 'jobCancelled' })) // the third never comes
        await pause(150)
        const started = performance.now()
        for (const engine of engines) engine.forget?.(7)
        await Promise.all(running)
        assert.ok(performance.now() - started < 60_000, 'long before the step deadline')
        for (const engine of engines) await engine.release(7)
        await checkReference(ring, cases[2])
      })

      it('a rank that does not come is named at the step deadline', async (t) => {
        const { engines } = (await open(t, 2, 1000)).ranks
        await assert.rejects(engines[0].step(stepOf(7)), {
          code: 'collectiveTimeout',
          fields: { rank: 1, peer: 'node 1', seconds: 1 },
        })
      })

      it('a ring that ends in the middle of a step ends it, and the same backends serve the next epoch', async (t) => {
        const first = await open(t, 2)
        const running = assert.rejects(first.ranks.engines[0].step(stepOf(7)), { code: 'peerLost' })
        await pause(150)
        await first.ranks.leave()
        await running
        for (const epoch of [2, 3]) {
          const { ring, ranks } = await again(t, first, epoch)
          await checkReference(ring, cases[2])
          await ranks.leave()
        }
      })

      it('what the agent knows first ends a step: break gives its reason', async (t) => {
        const {
          ranks: { engines },
        } = await open(t, 2)
        const running = assert.rejects(engines[0].step(stepOf(7)), { code: 'peerRemoved' })
        await pause(150)
        engines[0].break(new MeshError('peerRemoved', { peer: 'node 1' }))
        await running
      })

      it('a backend that holds sockets can be closed at once', async (t) => {
        const { ring } = await open(t, 2)
        const started = performance.now()
        await ring.close()
        assert.ok(performance.now() - started < 1500, 'nobody had to be killed')
      })

      it('a job may go over streams, and does not come back to sockets', async (t) => {
        const { ring, ranks } = await open(t, 2)
        ranks.use('streams')
        const sent = ranks.channels.map(({ bytesSent }) => bytesSent)
        await checkReference(ring, cases[2])
        assert.ok(ranks.channels.every(({ bytesSent }, rank) => bytesSent > sent[rank]))
        assert.throws(() => ranks.use('sockets'), { code: 'frameInvalid' })
      })
    }

    if (names.includes('ggml'))
      it('a compute process that dies in a step is named there, lost for the others; it goes on over streams, and with sockets in the next epoch', async (t) => {
        const first = await open(t, 3)
        const { ranks, ring, pids } = first
        const failing = [0, 1].map((rank) =>
          assert.rejects(ranks.engines[rank].step(stepOf(7)), (error: Error & { code?: string }) => {
            assert.equal(error.code, rank === 0 ? 'backendFailed' : 'peerLost', error.message)
            return true
          }),
        )
        await pause(150)
        const started = performance.now()
        process.kill(pids.get(0) as number, 'SIGKILL')
        await Promise.all(failing)
        assert.ok(performance.now() - started < 60_000, 'long before the step deadline')
        await assert.rejects(ranks.engines[2].step(stepOf(8)), { code: 'peerLost' })
        ranks.use('streams')
        for (const engine of ranks.engines) await engine.release(7)
        await checkReference(ring, cases[2])
        await ranks.leave()
        await checkReference((await again(t, first, 2)).ring, cases[2])
      })
  })
