/** Prompts of any length: refused by it, or cut beside the thread that answers. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../../shared/errors.ts'
import { encodeAside, encodePrompt, type Prompt } from './prompt-encoder.ts'
import { families } from './tokenizer/test/families.ts'
import { loadTokenizer, type Tokenizer } from './tokenizer.ts'

const folder = fileURLToPath(new URL('../../models/tiny-story', import.meta.url))
const tokenizer = loadTokenizer(folder)
const { signal } = new AbortController()
const limits = { context: 512, vocab: 2048 }

/** Milliseconds of processor time that this thread used: what else runs on the machine, and beside it, counts not. */
const threadMs = (): number => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

/** Longest work of the calling thread in one go, in milliseconds of its own, beside what the work gave. */
const watched = async <Result>(
  work: Promise<Result>,
): Promise<{ readonly result: PromiseSettledResult<Result>; readonly longestMs: number }> => {
  let longestMs = 0
  const state = { isOver: false }
  const settled = Promise.allSettled([work]).finally(() => (state.isOver = true))
  while (!state.isOver) {
    const before = threadMs()
    await turn()
    longestMs = Math.max(longestMs, threadMs() - before)
  }
  const [result] = await settled
  return { result, longestMs }
}

const loadFamily = (
  t: TestContext,
  name: string,
  change: object = {},
): { readonly tokenizer: Tokenizer; readonly folder: string } => {
  const own = mkdtempSync(join(tmpdir(), 'mesh-prompt-'))
  t.after(() => rmSync(own, { recursive: true, force: true }))
  writeFileSync(join(own, 'tokenizer.json'), JSON.stringify({ ...families[name], ...change }))
  return { tokenizer: loadTokenizer(own), folder: own }
}

const million = 'Once upon a time there was '.repeat(37_038).slice(0, 1_000_000)

test('prompt: a million characters are refused by their length, at once, as text and as a message', async () => {
  // neither here nor in a thread, which would read that folder, is it cut
  const bare = {
    ...tokenizer,
    encode: () => assert.fail('it is cut'),
    checkLength: tokenizer.checkLength.bind(tokenizer),
  }
  await assert.rejects(encodeAside({ tokenizer: bare, folder: '/nowhere' }, { prompt: million }, limits, signal), {
    code: 'promptTooLong',
    message: /at least \d+ tokens, the context holds 512/,
  })
  const { result, longestMs } = await watched(
    encodeAside({ tokenizer, folder }, { messages: [{ role: 'user', content: million }] }, limits, signal),
  )
  assert.equal(result.status === 'rejected' && (result.reason as MeshError).code, 'promptTooLong')
  assert.ok(longestMs < 1000, `the thread was kept for ${longestMs} ms`)
})

test('prompt: the bound is one: what it lets pass and what it refuses agree with the tokens, in every family', (t) => {
  for (const name of Object.keys(families)) {
    const { tokenizer: one } = loadFamily(t, name)
    for (const unit of [
      'the ',
      'e\u0301',
      '🚀',
      '  ',
      'a  <left>  ',
      '1',
      '<|turn|>x',
      '\n\n\n',
      'HTTPServer',
      'x'.repeat(200),
    ]) {
      const text = unit.repeat(40)
      for (const special of [false, true]) {
        const { length } = one.encode(text, { special })
        // whoever has as many tokens as are allowed must pass
        one.checkLength(text, { special, mostTokens: length + 1 })
      }
    }
  }
  const { tokenizer: bytes } = loadFamily(t, 'llama-3', { added_tokens: [] })
  assert.throws(() => bytes.checkLength(million, { mostTokens: 1000 }), { code: 'promptTooLong' })
  // the same bound is what a ring tells the control plane
  bytes.checkLength(million, { mostTokens: Math.floor(million.length / bytes.charactersPerToken) + 1 })
  assert.throws(
    () => bytes.checkLength(million, { mostTokens: Math.floor(million.length / bytes.charactersPerToken) }),
    { code: 'promptTooLong' },
  )
  const { tokenizer: lossy } = loadFamily(t, 'unigram')
  assert.equal(lossy.charactersPerToken, Infinity)
  lossy.checkLength(million, { mostTokens: 2 }) // any run may be one unknown token
})

test('prompt: a long one is cut beside the calling thread, into the same tokens', async () => {
  const prompt: Prompt = { prompt: million.slice(0, 400_000) }
  const roomy = { ...limits, context: 1_000_000 }
  const { result, longestMs } = await watched(encodeAside({ tokenizer, folder }, prompt, roomy, signal))
  const started = threadMs()
  const want = encodePrompt(tokenizer, prompt, roomy)
  const here = threadMs() - started
  assert.deepEqual(result.status === 'fulfilled' && result.value, want)
  assert.ok(longestMs < here, `kept for ${longestMs} ms, cutting here takes ${here} ms`)
})

test('prompt: errors of the thread arrive as they are, and a cancelled prompt ends it', async (t) => {
  const long = 'x'.repeat(9000)
  const roomy = { ...limits, context: 1_000_000 }
  const random = loadFamily(t, 'llama-3')
  await assert.rejects(encodeAside(random, { messages: [{ role: 'user', content: long }] }, roomy, signal), {
    code: 'chatTemplateMissing',
  })
  const abort = new AbortController()
  const work = encodeAside({ tokenizer, folder }, { prompt: million }, { ...limits, context: 2_000_000 }, abort.signal)
  abort.abort(new MeshError('jobCancelled'))
  await assert.rejects(work, { code: 'jobCancelled' })
  await assert.rejects(encodeAside({ tokenizer, folder }, { prompt: 'hi' }, limits, abort.signal), {
    code: 'jobCancelled',
  })
})

test('prompt: tokens that the model does not have are named', (t) => {
  const { tokenizer: one } = loadFamily(t, 'llama-3')
  const { length: vocab } = Object.keys(families['llama-3'].model.vocab as object)
  assert.throws(() => encodePrompt(one, { prompt: 'a<|turn|>', special: true }, { context: 99, vocab }), {
    code: 'tokenOutsideVocabulary',
    fields: { token: '<|turn|>', id: vocab, vocab },
  })
  assert.ok(
    encodePrompt(one, { prompt: 'a<|turn|>', special: true }, { context: 99, vocab: vocab + 1 }).includes(vocab),
  )
  assert.ok(!encodePrompt(one, { prompt: 'a<|turn|>' }, { context: 99, vocab }).includes(vocab))
})
