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
import { at, cases } from '../engine/test/bundled-reference.ts'
import { createInlineOnnx } from '../engine/test/inline-backend.ts'
import { Leader } from '../generation/leader.ts'
import { openEmbedding } from '../model/embedding.ts'
import { openModel } from '../model/model-folder.ts'
import { loadShard } from '../model/shard-cache.ts'
import { loadTokenizer } from '../model/tokenizer.ts'
import { type Assignment, JobRunner } from './job-runner.ts'
import { Outbox } from './outbox.ts'
import type { RingSession } from './ring-session.ts'

type Json = Record<string, unknown>

const edit = (folder: string, name: string, change: (json: Json) => Json): void =>
  writeFileSync(join(folder, name), JSON.stringify(change(JSON.parse(readFileSync(join(folder, name), 'utf8')) as Json)))

const question: JobSubmission = {
  modelId: 'tiny-story', messages: [{ role: 'user', content: 'What is 7 plus 8?' }], maxTokens: 20, stop: [], idempotencyKey: 'key-of-a-job',
  sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 },
}

/** Runs jobs on a copy of the bundled model. @param change of its files, before it is opened */
const openRunner = async (t: TestContext, change: (folder: string) => void): Promise<(submission: Partial<JobSubmission>) => Promise<AgentMessage[]>> => {
  const folder = join(temporaryFolder(t), 'model')
  cpSync(at('models/tiny-story'), folder, { recursive: true })
  change(folder)
  const model = openModel(folder, 'tiny-story')
  const { shape, normEpsilon, rope } = model.config
  const [ranges] = planShards(shape, [1])
  const shard = await loadShard({ model, ranges, quant: 'f32', cacheFolder: join(folder, 'shards') })
  const backend = await createInlineOnnx({ shape, ranges, quant: 'f32', normEpsilon, rope, threads: 1, shard })
  t.after(async () => {
    await backend.close()
    model.close()
  })
  const embedding = openEmbedding(model)
  const tokenizer = loadTokenizer(folder)
  const engine = createForward({ shape, ranges, backend, collective: soloCollective, embed: (tokens, into) => embedding.read(tokens, into) })
  const leader = new Leader({ engine, channel: undefined, members: [{ rank: 0, name: 'rank 0', ranges }], decoder: tokenizer })
  const session = { leader: { leader, loaded: { tokenizer, model, embedding, shard } } } as unknown as RingSession
  let jobs = 0
  return async (submission) => {
    const sent: AgentMessage[] = []
    const outbox = new Outbox(new MessageStore(join(folder, 'outbox'), silentLogger()), (message) => sent.push(message))
    const runner = new JobRunner({ send: () => {}, outbox, logger: silentLogger(), sessionOf: () => session, onChange: () => {}, onWork: () => {} })
    await runner.run({ type: 'job-assign', jobId: `job_${++jobs}`, epoch: 1, queuedMs: 0, submission: { ...question, ...submission } } as Assignment)
    return sent
  }
}

const endOf = (sent: readonly AgentMessage[]): Json => {
  const last = sent.at(-1)
  if (last?.type === 'job-done') return { type: last.type, finishReason: last.finishReason, text: last.text, promptTokens: last.usage.promptTokens }
  return last?.type === 'job-failed' ? { type: last.type, code: last.error.code } : { type: last?.type }
}

describe('job runner', () => {
  it('a token that only tokenizer_config.json names as the end ends the answer', async (t) => {
    const run = await openRunner(t, (folder) => {
      edit(folder, 'config.json', ({ eos_token_id: _end, ...rest }) => rest)
      edit(folder, 'generation_config.json', ({ eos_token_id: _end, ...rest }) => rest)
    })
    const { prompt_ids: prompt, continuation_text: text } = cases[2]
    assert.deepEqual(endOf(await run({})), { type: 'job-done', finishReason: 'stop', text: text.replace('<|end|>', ''), promptTokens: prompt.length })
  })

  it('special tokens of a prompt count when they are asked for; what cannot be run is refused by name, and the next job runs', async (t) => {
    const run = await openRunner(t, (folder) => {
      edit(folder, 'tokenizer.json', (json) => ({ ...json, added_tokens: [...(json.added_tokens as Json[]), { id: 2048, content: '<pad>', special: true }] }))
    })
    const plain = { messages: undefined, maxTokens: 1 }
    assert.equal(endOf(await run({ ...plain, prompt: '<|end|>', special: true })).promptTokens, 2)
    assert.notEqual(endOf(await run({ ...plain, prompt: '<|end|>' })).promptTokens, 2)
    assert.deepEqual(endOf(await run({ ...plain, prompt: 'a<pad>', special: true })), { type: 'job-failed', code: 'tokenOutsideVocabulary' })
    assert.equal(endOf(await run({ ...plain, prompt: 'a<pad>' })).type, 'job-done')
    for (const length of [4000, 20_000, 1_000_000]) {
      assert.deepEqual(endOf(await run({ ...plain, prompt: 'a long story '.repeat(length / 13) })), { type: 'job-failed', code: 'promptTooLong' }, `${length} characters`)
    }
    assert.equal(endOf(await run({ ...plain, prompt: 'Once' })).type, 'job-done')
  })
})
