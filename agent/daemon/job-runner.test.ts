/** Jobs as rank 0 runs them, over the bundled model: what becomes of their prompts, and what they report. */
import assert from 'node:assert/strict'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import type { AgentMessage } from '../../shared/api/messages.ts'
import { silentLogger } from '../../shared/log.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { JobSubmission } from '../../shared/schema/job.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { soloCollective } from '../collective/collective.ts'
import { MessageStore } from '../device/message-store.ts'
import { createForward } from '../engine/forward.ts'
import { openResidual } from '../engine/residual.ts'
import { at, cases } from '../engine/test/bundled-reference.ts'
import { createInlineOnnx } from '../engine/test/inline-backend.ts'
import { Leader } from '../generation/leader.ts'
import { openEmbedding } from '../model/embedding.ts'
import { openModel } from '../model/model-folder.ts'
import { loadShard } from '../model/shard-cache.ts'
import { loadTokenizer } from '../model/tokenizer.ts'
import { type Assignment, JobRunner } from './job-runner.ts'
import { type KeyPair, newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { decodeArray, decodeStatement } from '../../shared/identity/signed-statement.ts'
import type { RingEpoch } from '../../shared/schema/ring.ts'
import { createAnswerOpener } from '../../shared/sealed/sealed-answer.ts'
import { newSealingPair, sealJob } from '../../shared/sealed/sealed-job.ts'
import { Outbox } from './outbox.ts'
import { Sealing } from './sealing.ts'
import type { RingSession } from './ring-session.ts'

type Json = Record<string, unknown>

const edit = (folder: string, name: string, change: (json: Json) => Json): void =>
  writeFileSync(
    join(folder, name),
    JSON.stringify(change(JSON.parse(readFileSync(join(folder, name), 'utf8')) as Json)),
  )

const question: JobSubmission = {
  modelId: 'tiny-story',
  messages: [{ role: 'user', content: 'What is 7 plus 8?' }],
  maxTokens: 20,
  stop: [],
  idempotencyKey: 'key-of-a-job',
  sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 },
}

const poolId = 'a'.repeat(64)

/** Runs jobs on a copy of the bundled model. @param change of its files, before it is opened */
const openRunner = async (
  t: TestContext,
  change: (folder: string) => void,
  sealing?: Sealing,
): Promise<(submission: Partial<JobSubmission>) => Promise<AgentMessage[]>> => {
  const folder = join(temporaryFolder(t), 'model')
  cpSync(at('models/tiny-story'), folder, { recursive: true })
  change(folder)
  const model = openModel(folder, 'tiny-story')
  const { shape } = model.config
  const [ranges] = planShards(shape, [1])
  const shard = await loadShard({ model, ranges, quant: 'f32', cacheFolder: join(folder, 'shards') })
  const backend = await createInlineOnnx({ spec: model.config.spec, shape, ranges, quant: 'f32', threads: 1, shard })
  t.after(async () => {
    await backend.close()
    model.close()
  })
  const embedding = openEmbedding(model)
  const tokenizer = loadTokenizer(folder)
  const engine = createForward({
    shape,
    ranges,
    backend,
    collective: soloCollective,
    residual: openResidual(model.config.spec, shard),
    embed: (tokens, into) => embedding.read(tokens, into),
  })
  const leader = new Leader({
    engine,
    channel: undefined,
    members: [{ rank: 0, name: 'rank 0', ranges }],
    decoder: tokenizer,
  })
  const session = {
    ring: { poolId },
    leader: { leader, loaded: { tokenizer, model, embedding, shard } },
  } as unknown as RingSession
  let jobs = 0
  return async (submission) => {
    const sent: AgentMessage[] = []
    const outbox = new Outbox(new MessageStore(join(folder, 'outbox'), silentLogger()), (message) => sent.push(message))
    const runner = new JobRunner({
      send: () => {},
      outbox,
      logger: silentLogger(),
      sealing: sealing ?? (await Sealing.start(newKeyPair())),
      sessionOf: () => session,
      onChange: () => {},
      onWork: () => {},
    })
    await runner.run({
      type: 'job-assign',
      jobId: `job_${++jobs}`,
      epoch: 1,
      queuedMs: 0,
      submission: { ...question, ...submission },
    } as Assignment)
    return sent
  }
}

const endOf = (sent: readonly AgentMessage[]): Json => {
  const last = sent.at(-1)
  if (last?.type === 'job-done')
    return { type: last.type, finishReason: last.finishReason, text: last.text, promptTokens: last.usage.promptTokens }
  return last?.type === 'job-failed' ? { type: last.type, code: last.error.code } : { type: last?.type }
}

/** The public key that an agent gives out for a ring that it leads. */
const publicKeyOf = (sealing: Sealing, device: KeyPair): Uint8Array => {
  const ring = {
    ringId: 'ring_1',
    poolId,
    epoch: 1,
    members: [{ rank: 0, deviceId: toHex(device.publicKey) }],
  } as unknown as RingEpoch
  const statement = decodeStatement(Buffer.from(sealing.keyOf(ring) ?? '', 'base64url'))
  // who does not lead gives none
  assert.equal(sealing.keyOf({ ...ring, members: [{ ...ring.members[0], deviceId: 'b'.repeat(64) }] }), undefined)
  return decodeArray(statement.body, [6])[5] as Uint8Array
}

describe('job runner', () => {
  it('a sealed prompt gives the same answer, sealed: nothing of either is told, on any way it may end', async (t) => {
    const device = newKeyPair()
    const sealing = await Sealing.start(device)
    const run = await openRunner(
      t,
      (folder) => {
        edit(folder, 'tokenizer.json', (json) => ({
          ...json,
          added_tokens: [...(json.added_tokens as Json[]), { id: 2048, content: '<pad>', special: true }],
        }))
      },
      sealing,
    )
    const publicKey = publicKeyOf(sealing, device)
    const asked: JobSubmission = {
      ...question,
      messages: undefined,
      prompt: 'Once upon a time there was a Zebra',
      maxTokens: 12,
      stop: ['impossible end'],
    }
    const plain = (await run(asked)).at(-1)
    assert.ok(plain?.type === 'job-done')
    const { submission, answerSecret } = await sealJob(asked, { poolId, publicKey })
    const sent = await run({ ...submission, messages: undefined })
    const words = plain.text.split(' ').filter((word) => word.length > 3)
    for (const word of [...words, 'Zebra', 'impossible']) assert.ok(!JSON.stringify(sent).includes(word), word)
    const last = sent.at(-1)
    assert.ok(last?.type === 'job-done')
    assert.deepEqual(
      [last.tokens, last.usage, last.finishReason],
      [plain.tokens.map(() => 0), plain.usage, plain.finishReason],
    )
    assert.ok(sent.every((message) => message.type !== 'job-tokens' || message.tokens.every((token) => token === 0)))
    const streamed = sent.flatMap((message) => (message.type === 'job-tokens' ? [message.text] : [])).join('')
    assert.ok(last.text.startsWith(streamed) && last.text.length > streamed.length)
    const pieces = createAnswerOpener(answerSecret).feed(last.text)
    assert.deepEqual(
      [pieces.map(({ text }) => text).join(''), pieces.flatMap((piece) => piece.tokens)],
      [plain.text, plain.tokens],
    )
    assert.deepEqual(pieces.at(-1)?.end, { finishReason: plain.finishReason, tokens: plain.tokens.length })

    const codeOf = async (change: Partial<JobSubmission>): Promise<unknown> =>
      endOf(await run({ ...submission, messages: undefined, ...change })).code
    assert.equal(await codeOf({}), 'sealBroken') // once more: who sends it again learns nothing
    assert.equal(await codeOf({ maxTokens: 99 }), 'sealBroken')
    const other = await sealJob(asked, { poolId, publicKey: (await newSealingPair()).publicKey })
    assert.equal(await codeOf({ sealed: other.submission.sealed }), 'sealStale')
    // words of a failure may quote
    const failing = await sealJob({ ...asked, prompt: 'a<pad>', special: true }, { poolId, publicKey })
    const failed = (await run({ ...failing.submission, messages: undefined })).at(-1)
    assert.ok(
      failed?.type === 'job-failed' &&
        failed.error.code === 'tokenOutsideVocabulary' &&
        !JSON.stringify(failed).includes('pad'),
    )
  })

  it('a token that only tokenizer_config.json names as the end ends the answer', async (t) => {
    const run = await openRunner(t, (folder) => {
      edit(folder, 'config.json', ({ eos_token_id: _end, ...rest }) => rest)
      edit(folder, 'generation_config.json', ({ eos_token_id: _end, ...rest }) => rest)
    })
    const { prompt_ids: prompt, continuation_text: text } = cases[2]
    assert.deepEqual(endOf(await run({})), {
      type: 'job-done',
      finishReason: 'stop',
      text: text.replace('<|end|>', ''),
      promptTokens: prompt.length,
    })
  })

  it('special tokens of a prompt count when they are asked for; what cannot be run is refused by name, and the next job runs', async (t) => {
    const run = await openRunner(t, (folder) => {
      edit(folder, 'tokenizer.json', (json) => ({
        ...json,
        added_tokens: [...(json.added_tokens as Json[]), { id: 2048, content: '<pad>', special: true }],
      }))
    })
    const plain = { messages: undefined, maxTokens: 1 }
    assert.equal(endOf(await run({ ...plain, prompt: '<|end|>', special: true })).promptTokens, 2)
    assert.notEqual(endOf(await run({ ...plain, prompt: '<|end|>' })).promptTokens, 2)
    assert.deepEqual(endOf(await run({ ...plain, prompt: 'a<pad>', special: true })), {
      type: 'job-failed',
      code: 'tokenOutsideVocabulary',
    })
    assert.equal(endOf(await run({ ...plain, prompt: 'a<pad>' })).type, 'job-done')
    for (const length of [4000, 20_000, 1_000_000]) {
      assert.deepEqual(
        endOf(await run({ ...plain, prompt: 'a long story '.repeat(length / 13) })),
        { type: 'job-failed', code: 'promptTooLong' },
        `${length} characters`,
      )
    }
    assert.equal(endOf(await run({ ...plain, prompt: 'Once' })).type, 'job-done')
  })
})
