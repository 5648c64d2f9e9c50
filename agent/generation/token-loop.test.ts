/** Leader and followers over in-memory channels and real engines of the bundled model. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { MeshError } from '../../shared/errors.ts'
import { silentLogger } from '../../shared/log.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { Sampling } from '../../shared/schema/job.ts'
import { dtypes } from '../../shared/wire/frame.ts'
import { type Channel, payloadOf } from '../channel/channel.ts'
import { createMemoryChannels, type MemoryChannel } from '../channel/test/memory-channel.ts'
import { createRingCollective } from '../collective/ring.ts'
import type { StepInput } from '../engine/engine.ts'
import { createForward } from '../engine/forward.ts'
import { openResidual } from '../engine/residual.ts'
import { createInlineOnnx } from '../engine/test/inline-backend.ts'
import { openEmbedding } from '../model/embedding.ts'
import { type Model, openModel } from '../model/model-folder.ts'
import { loadShard } from '../model/shard-cache.ts'
import { loadTokenizer, type Tokenizer } from '../model/tokenizer.ts'
import { type Candidates, encodeCandidates } from './candidates.ts'
import { type Follower, type JobOutcome, startFollower } from './follower.ts'
import { type GenerationRequest, Leader } from './leader.ts'
import type { RankWork } from './protocol.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { cases } = JSON.parse(readFileSync(join(root, 'test/data/tiny-story-reference.json'), 'utf8')) as {
  cases: { prompt_ids: number[]; continuation_ids: number[]; continuation_text: string }[]
}
const greedy: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 }
const warm: Sampling = { ...greedy, temperature: 0.9, topP: 0.95, seed: 11 }

interface Ring {
  readonly leader: Leader
  readonly channels: readonly MemoryChannel[]
  readonly followers: readonly Follower[]
  readonly lost: Error[]
  /** Steps that rank 0 began and ended, in order. */
  readonly steps: string[]
  /** What followers said they did, and how the jobs ended for them. */
  readonly work: RankWork[]
  readonly outcomes: JobOutcome[]
}

describe('token loop', () => {
  let folder: string
  let model: Model
  let tokenizer: Tokenizer
  const closers: (() => Promise<void>)[] = []
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'mesh-loop-'))
    model = openModel(join(root, 'models/tiny-story'), 'tiny-story')
    tokenizer = loadTokenizer(model.folder)
  })
  after(async () => {
    for (const close of closers) await close()
    model.close()
    rmSync(folder, { recursive: true, force: true })
  })

  interface RingOptions {
    readonly stepTimeoutMs?: number
    readonly shares?: readonly number[]
    /** What a follower does to its own channel. */
    altered?(channel: Channel): Channel
    /** A rank whose memory is. */
    readonly broken?: number
  }

  const createRing = async (
    worldSize: number,
    {
      stepTimeoutMs = 5000,
      shares = Array.from({ length: worldSize }, () => 1),
      altered = (channel) => channel,
      broken,
    }: RingOptions = {},
  ): Promise<Ring> => {
    const plan = planShards(model.config.shape, [...shares])
    const channels = createMemoryChannels(worldSize, stepTimeoutMs)
    const lost: Error[] = []
    const work: RankWork[] = []
    const outcomes: JobOutcome[] = []
    const followers: Follower[] = []
    const engines = await Promise.all(
      plan.map(async (ranges, rank) => {
        const shard = await loadShard({ model, ranges, quant: 'f32', cacheFolder: join(folder, String(rank)) })
        const { shape } = model.config
        const backend = await createInlineOnnx({
          spec: model.config.spec,
          shape,
          ranges,
          quant: 'f32',
          threads: 1,
          shard,
        })
        closers.push(() => backend.close())
        const embedding = openEmbedding(model)
        return createForward({
          shape,
          ranges,
          backend,
          collective: createRingCollective(channels[rank]),
          residual: openResidual(model.config.spec, shard),
          embed: (tokens, into) => (rank === broken ? void into.fill(NaN) : embedding.read(tokens, into)),
        })
      }),
    )
    for (const rank of Array.from({ length: worldSize - 1 }, (_, i) => i + 1)) {
      followers.push(
        startFollower({
          engine: engines[rank],
          channel: altered(channels[rank]),
          logger: silentLogger(),
          leaderName: 'Device 0',
          stepTimeoutMs,
          onSettings: () => {},
          onLost: (error) => lost.push(error),
          onBusy: () => {},
          onWork: (one, outcome) => {
            work.push(one)
            outcomes.push(outcome)
          },
        }),
      )
    }
    const steps: string[] = []
    const observed = {
      ...engines[0],
      step: async (input: StepInput) => {
        steps.push(`begin ${input.step}`)
        const result = await engines[0].step(input)
        steps.push(`end ${input.step}`)
        return result
      },
    }
    return {
      leader: new Leader({
        engine: observed,
        channel: worldSize > 1 ? channels[0] : undefined,
        members: plan.map((ranges, rank) => ({ rank, name: `Device ${rank}`, ranges })),
        decoder: tokenizer,
        onLost: (error) => lost.push(error),
      }),
      channels,
      followers,
      lost,
      steps,
      work,
      outcomes,
    }
  }

  const request = (change: Partial<GenerationRequest>): GenerationRequest => ({
    jobId: 'job',
    tokens: cases[0].prompt_ids,
    maxTokens: 40,
    sampling: greedy,
    stop: [],
    endTokens: [1],
    queuedMs: 0,
    signal: new AbortController().signal,
    onToken: () => {},
    ...change,
  })

  for (const worldSize of [1, 2, 3]) {
    it(`${worldSize} ranks: greedy text is the reference, streamed whole and in order`, async () => {
      const { leader } = await createRing(worldSize)
      const pieces: string[] = []
      const indices: number[] = []
      const result = await leader.run(
        request({
          onToken: (index, _, text) => {
            indices.push(index)
            pieces.push(text)
          },
        }),
      )
      assert.deepEqual(result.tokens, cases[0].continuation_ids.slice(0, 40))
      assert.equal(result.finishReason, 'length')
      assert.ok(cases[0].continuation_text.startsWith(result.text))
      assert.equal(pieces.join(''), result.text)
      assert.deepEqual(
        indices,
        Array.from({ length: 40 }, (_, i) => i),
      )
      assert.deepEqual(result.usage, { promptTokens: 5, completionTokens: 40, totalTokens: 45 })
    })
  }

  it('a token is shown while the next step runs; one that a stop makes needless ends before the next job', async () => {
    for (const worldSize of [1, 2]) {
      const { leader, steps } = await createRing(worldSize)
      const begun: boolean[] = []
      await leader.run(request({ maxTokens: 4, onToken: (index) => begun.push(steps.includes(`begin ${index + 1}`)) }))
      assert.deepEqual(begun, [true, true, true, false], `${worldSize} ranks`)
      const whole = await leader.run(request({}))
      const stop = whole.text.slice(20, 24)
      const started = steps.length
      const stopped = await leader.run(request({ stop: [stop] }))
      assert.equal(stopped.text, whole.text.slice(0, whole.text.indexOf(stop)))
      assert.equal(stopped.finishReason, 'stop')
      const again = await leader.run(request({}))
      assert.deepEqual(again.tokens, whole.tokens)
      const own = steps.slice(started)
      for (const [index, step] of own.entries())
        assert.equal(step.startsWith(index % 2 === 0 ? 'begin' : 'end'), true, `steps overlap: ${own.join(', ')}`)
      assert.equal(own.indexOf('begin 0'), 0)
      // a step for each token that was drawn, the last one included
      assert.equal(own.lastIndexOf('begin 0'), 2 * (stopped.tokens.length + 1))
    }
  })

  it('every rank says what it did: tokens through the layers, and its own time', async () => {
    const { leader, work, outcomes } = await createRing(3)
    const first = await leader.run(request({}))
    await leader.run(request({ jobId: 'other' })) // the first has ended on all ranks
    // the last token was drawn and not run
    assert.deepEqual([first.work.jobId, first.work.tokens], ['job', 44])
    assert.ok(first.work.computeMs > 0)
    assert.deepEqual(
      work.slice(0, 2).map(({ jobId, tokens, computeMs }) => [jobId, tokens, computeMs > 0]),
      [
        ['job', 44, true],
        ['job', 44, true],
      ],
    )
    assert.deepEqual(outcomes.slice(0, 2), ['done', 'done'])
  })

  it('a rank says what it did, once, also when the epoch ends before rank 0 says that the job did', async () => {
    const ends: readonly [string, (ring: Ring) => void][] = [
      ['rank 0 is gone', ({ channels }) => channels[0].kill()],
      ['this rank leaves the epoch', ({ followers }) => followers[0].close()],
    ]
    for (const [name, happens] of ends) {
      const ring = await createRing(2)
      await ring.leader.run(request({ maxTokens: 6, onToken: (index) => index === 5 && happens(ring) })).catch(() => {})
      assert.deepEqual(
        ring.work.map(({ jobId, tokens, computeMs }) => [jobId, tokens, computeMs > 0]),
        [['job', 10, true]],
        name,
      )
      assert.deepEqual(ring.outcomes, ['failed'], name)
    }
  })

  it('the end token ends the answer and is no part of it', async () => {
    const { leader } = await createRing(2)
    const result = await leader.run(request({ tokens: cases[2].prompt_ids }))
    assert.deepEqual([result.text, result.finishReason], ['7 plus 8 is 15.', 'stop'])
    assert.ok(!result.tokens.includes(1))
  })

  it('a seed gives the same text again, another seed another one, for any split', async () => {
    const [two, three] = await Promise.all([createRing(2), createRing(3)])
    const first = await two.leader.run(request({ sampling: warm }))
    assert.equal((await two.leader.run(request({ sampling: warm }))).text, first.text)
    assert.equal((await three.leader.run(request({ sampling: warm }))).text, first.text)
    assert.notEqual((await two.leader.run(request({ sampling: { ...warm, seed: 12 } }))).text, first.text)
  })

  it('hot draws reach beyond the candidates of a rank, and are the same for any split', async () => {
    const hot: Sampling = { ...greedy, temperature: 10, seed: 5, repetitionPenalty: 1.2 }
    const texts: (readonly number[])[] = []
    // of 2,048 tokens one rank holds more than it has candidates
    for (const shares of [[1], [3, 1], [1, 5, 1]]) {
      const worldSize = shares.length
      const { leader, channels } = await createRing(worldSize, { shares })
      const asked = channels[0].sendControl.bind(channels[0])
      let logits = 0
      if (worldSize > 1)
        channels[0].sendControl = (to, message) => {
          if (message.type === 'logits') logits++
          return asked(to, message)
        }
      // twice: what was asked for is no part of the next job
      texts.push(
        (await leader.run(request({ sampling: hot, endTokens: [] }))).tokens,
        (await leader.run(request({ sampling: hot, endTokens: [] }))).tokens,
      )
      assert.ok(worldSize === 1 || logits > 10, `asked for all logits ${logits} times`)
    }
    for (const tokens of texts) assert.deepEqual(tokens, texts[0])
    assert.notDeepEqual(texts[0], cases[0].continuation_ids.slice(0, 40))
  })

  it('a stop string ends the text before it', async () => {
    const { leader } = await createRing(2)
    const result = await leader.run(request({ stop: ['girl named'] }))
    assert.equal(result.finishReason, 'stop')
    assert.equal(result.text, ', there was a cheerful ')
  })

  it('the repetition penalty changes the text and is the same for any split', async () => {
    const sampling = { ...greedy, repetitionPenalty: 1.5 }
    const [one, three] = await Promise.all([createRing(1), createRing(3)])
    const alone = await one.leader.run(request({ sampling }))
    assert.deepEqual((await three.leader.run(request({ sampling }))).tokens, alone.tokens)
    assert.notDeepEqual(alone.tokens, cases[0].continuation_ids.slice(0, 40))
  })

  it('generation stops where the context ends', async () => {
    const { leader } = await createRing(1)
    const tokens = Array.from({ length: 505 }, (_, i) => cases[0].continuation_ids[i % 100])
    const result = await leader.run(request({ tokens, maxTokens: 100, endTokens: [] }))
    assert.equal(result.usage.totalTokens, 512)
    assert.equal(result.finishReason, 'length')
    await assert.rejects(leader.run(request({ tokens: [...tokens, ...tokens] })), {
      code: 'promptTooLong',
      fields: { tokens: 1010, context: 512 },
    })
    await assert.rejects(leader.run(request({ tokens: [] })), { code: 'promptEmpty' })
  })

  it('a cancelled job keeps what it has', async () => {
    const { leader, outcomes } = await createRing(2)
    const abort = new AbortController()
    const result = await leader.run(request({ signal: abort.signal, onToken: (index) => index === 4 && abort.abort() }))
    assert.equal(result.finishReason, 'cancelled')
    assert.equal(result.tokens.length, 5)
    assert.deepEqual((await leader.run(request({}))).tokens, cases[0].continuation_ids.slice(0, 40))
    assert.equal(outcomes[0], 'done')
  })

  it('a job that fails on one rank failed for all of them', async () => {
    const { leader, outcomes } = await createRing(3)
    await assert.rejects(leader.run(request({ tokens: [1, -5] })))
    await leader.run(request({ maxTokens: 2 }))
    assert.deepEqual(outcomes.slice(0, 2), ['failed', 'failed'])
  })

  it('a follower that lies about its candidates is named, and the answer does not end early', async () => {
    const lies: readonly (readonly [Partial<Candidates>, RegExp])[] = [
      [{ logits: Float32Array.of(NaN) }, /a logit of NaN/],
      [{ ids: Uint32Array.of(1) }, /token 1, its part of the vocabulary is/],
      [{ ids: new Uint32Array(0), logits: new Float32Array(0) }, /none/],
      [{ logSumExp: NaN }, /a sum of NaN/],
    ]
    for (const [lie, problem] of lies) {
      const { leader } = await createRing(2, {
        altered: (channel) => ({
          ...channel,
          send: (to, tag, payload) =>
            channel.send(
              to,
              tag,
              payload.dtype === dtypes.bytes
                ? payloadOf(
                    encodeCandidates({
                      ids: Uint32Array.of(2047),
                      logits: Float32Array.of(1e9),
                      logSumExp: 0,
                      complete: false,
                      ...lie,
                    }),
                  )
                : payload,
            ),
        }),
      })
      await assert.rejects(leader.run(request({})), (error: MeshError) => {
        assert.deepEqual(
          [error.code, error.exitCode, error.fields.peer, error.fields.rank],
          ['peerInvalid', 6, 'Device 1', 1],
        )
        return problem.test(error.message)
      })
    }
  })

  it('a follower has no say in the code and the hint that people see: its words are quoted', async () => {
    const said = { message: 'no\nerror: forged\u001b[2J', hint: 'run rm -rf', fields: { problem: 'the "fan"\n' } }
    const reports: readonly (readonly [code: string, want: string, text: RegExp])[] = [
      ['jobCancelled', 'peerFailed', /^Device 1 \(rank 1\) gave up: "no error: forged\?\[2J"$/],
      ['promptEmpty', 'peerFailed', /gave up/],
      ['newerCode', 'peerFailed', /gave up/],
      ['peerLost', 'peerFailed', /gave up/],
      ['rankFailed', 'rankFailed', /^Device 1 \(rank 1\) could not compute: "the 'fan' "$/],
      ['backendFailed', 'rankFailed', /could not compute/],
    ]
    for (const [code, want, text] of reports) {
      const { leader, channels } = await createRing(2)
      const abort = (index: number): void =>
        void (index === 2 && channels[1].sendControl(0, { type: 'abort', job: 1, error: { code, ...said } }))
      await assert.rejects(
        leader.run(request({ maxTokens: 100_000, endTokens: [], onToken: abort })),
        (error: MeshError) => {
          assert.deepEqual([error.code, error.exitCode], [want, 6], code)
          assert.doesNotMatch(error.hint, /rm/)
          return text.test(error.message)
        },
      )
    }
  })

  it('a rank whose own sums are not numbers says so itself', async () => {
    for (const [worldSize, broken] of [
      [1, 0],
      [2, 0],
      [2, 1],
    ] as const) {
      const { leader } = await createRing(worldSize, { broken })
      await assert.rejects(leader.run(request({})), {
        code: 'rankFailed',
        message: new RegExp(
          `^Device ${broken} \\(rank ${broken}\\) could not compute: .*(no finite number|not a number)`,
        ),
      })
    }
  })

  it('a follower that dies fails the job at once and the epoch with it', async () => {
    const stepTimeoutMs = 120_000
    const { leader, channels, lost } = await createRing(3, { stepTimeoutMs })
    const started = performance.now()
    await assert.rejects(leader.run(request({ onToken: (index) => index === 3 && channels[2].kill() })), {
      code: 'peerLost',
      fields: { peer: 'rank 2', rank: 2, problem: 'killed' },
    })
    assert.ok(performance.now() - started < stepTimeoutMs / 2, 'not by the step deadline')
    assert.ok(lost.length >= 2, 'leader and the other follower were told')
    await assert.rejects(leader.run(request({})), { code: 'peerLost' })
  })
})
