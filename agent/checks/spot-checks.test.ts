/** Whole rings in this process: ranks that are honest, and ranks that lie, with the thread that checks. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { silentLogger } from '../../shared/log.ts'
import type { Quant } from '../../shared/schema/model.ts'
import { openBundledModel } from '../engine/test/bundled-reference.ts'
import { ggmlComes } from '../engine/test/platform.ts'
import type { RingOfEngines } from '../engine/test/ring-of-engines.ts'
import type { RankView } from './checked-rank.ts'
import { spanTokens } from './instants.ts'
import { SpotChecks } from './spot-checks.ts'
import {
  blockOf,
  type CheckedRingOptions,
  ffnOf,
  type Kind,
  noise,
  openCheckedRing,
  steer,
} from './test/checked-ring.ts'
import { watchEngine } from './watched-engine.ts'

describe('spot checks of a whole ring', () => {
  let folder: string
  let model: ReturnType<typeof openBundledModel>
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'mesh-checks-'))
    model = openBundledModel()
  })
  after(() => {
    model.close()
    rmSync(folder, { recursive: true, force: true })
  })

  interface Checked {
    readonly ring: RingOfEngines
    readonly checks: readonly SpotChecks[]
  }

  const open = async (t: TestContext, options: Omit<CheckedRingOptions, 'model' | 'around'>): Promise<Checked> => {
    const { kinds, quant } = options
    const { digests } = await model.identify()
    const ffn = ffnOf(model, options.shares ?? kinds.map(() => 1))
    const checks = kinds.map(
      (kind, rank) =>
        new SpotChecks({
          rank,
          ffn,
          quant,
          folder: join(folder, 'halves'),
          block: blockOf(kind, quant),
          logger: silentLogger(),
          onChange: () => {},
          modelFolder: model.folder,
          digests,
          spec: model.config.spec,
          cuttingShare: 1,
        }),
    )
    t.after(() => Promise.all(checks.map((one) => one.close())))
    const ring = await openCheckedRing({
      ...options,
      model,
      around: (engine, rank) => watchEngine(engine, checks[rank]),
    })
    t.after(() => ring.close())
    return { ring, checks }
  }

  /**
   * So many tokens, one after another. What is being checked is waited for: in a model of daily use a token takes
   * longer than a check.
   */
  const generate = async (
    { ring, checks }: Checked,
    tokens: number,
    until: () => boolean = () => false,
  ): Promise<number> => {
    let token = 1
    let count = 0
    for (; count < tokens && !until(); count++) {
      const [logits] = await ring.step([{ slot: 1, position: count, tokens: [token], logits: 'last' }])
      token = logits.reduce((best, value, index) => (value > logits[best] ? index : best), 0)
      if (checks.some((one) => one.isBehind)) await settled(() => checks.every((one) => !one.isBehind))
    }
    await ring.release(1)
    return count
  }

  const settled = async (done: () => boolean): Promise<void> => {
    for (const until = Date.now() + 30_000; Date.now() < until && !done();) await pause(2)
    assert.ok(done(), 'within half a minute')
  }

  const viewsOf = (checks: readonly SpotChecks[], rank: number): RankView[] =>
    checks.flatMap(({ views }, own) => (own === rank ? [] : views.filter((view) => view.rank === rank)))

  const rings: readonly (readonly [kinds: readonly Kind[], quant: Quant])[] = ggmlComes
    ? [
        [['onnx', 'onnx'], 'q4'],
        [['ggml', 'ggml'], 'f32'],
        [['ggml', 'ggml', 'ggml'], 'q4'],
        [['ggml', 'onnx', 'ggml', 'onnx'], 'q4'],
      ]
    : [
        [['onnx', 'onnx'], 'q4'],
        [['onnx', 'onnx', 'onnx'], 'f32'],
      ]
  for (const [kinds, quant] of rings) {
    it(`${kinds.join(' + ')}, ${quant}: a rank that is wrong by 1 % is named by all others within ${spanTokens} tokens, nobody else is`, async (t) => {
      const liar = kinds.length - 1
      const checked = await open(t, { kinds, quant, lies: { [liar]: noise(0.01, Math.random) } })
      await settled(() => checked.checks.every((one) => one.isReady))
      await generate(checked, spanTokens + 20)
      for (const view of viewsOf(checked.checks, liar)) {
        assert.ok(view.isWrong, JSON.stringify(view))
        assert.ok(view.worst < 0.03)
      }
      for (let rank = 0; rank < liar; rank++)
        for (const view of viewsOf(checked.checks, rank)) {
          assert.ok(view.checks > 0 && view.wrong === 0 && view.worst < 0.005, JSON.stringify(view))
        }
    })
  }
  it('a rank that steers two layers of many is found once one of them is looked at', async (t) => {
    const layers = [1, model.config.shape.layers - 1]
    const checked = await open(t, {
      kinds: ['onnx', 'onnx'],
      quant: 'q8',
      lies: { 1: steer(0.1, layers, Math.random) },
    })
    await settled(() => checked.checks.every((one) => one.isReady))
    for (let run = 0; run < 40 && !checked.checks[0].views[0].isWrong; run++)
      await generate(checked, 200, () => checked.checks[0].views[0].isWrong)
    assert.ok(checked.checks[0].views[0].isWrong)
    assert.equal(checked.checks[1].views[0].wrong, 0)
  })

  it('nothing is left in the folder of half layers', () => {
    assert.deepEqual(readdirSync(join(folder, 'halves')), [])
  })
})
