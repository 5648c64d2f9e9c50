import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { limits } from '../../shared/limits.ts'
import { manifest, submission } from '../test/plane.ts'
import { checkAsked, checkPromptLength, keptOf } from './prompt-length.ts'

test('prompt: too long by its characters is refused at the length where no cut into tokens could fit, not before', () => {
  const model = { ...manifest, charactersPerToken: 10 }
  const most = 10 * manifest.shape.context
  const { context } = manifest.shape
  const refusal = {
    code: 'promptTooLong',
    message: `the prompt has at least ${context} tokens, the context holds ${context}`,
  }
  checkPromptLength({ prompt: 'x'.repeat(most - 1) }, model)
  assert.throws(() => checkPromptLength({ prompt: 'x'.repeat(most) }, model), refusal)
  // what nobody can know here is left to rank 0
  checkPromptLength({ prompt: 'x'.repeat(most), special: true }, model)
  checkPromptLength({ prompt: 'x'.repeat(most) }, manifest)
  checkPromptLength({ messages: [{ role: 'user', content: 'x'.repeat(most) }] }, model)
})

test('prompt: of what failed the beginning is kept, whole where it is short, never half a character', () => {
  const most = limits.keptPromptLength
  const prompt = (text: string): ReturnType<typeof keptOf> => keptOf(submission('a', { prompt: text }))
  const fits = submission('a', { prompt: 'x'.repeat(most) })
  assert.deepEqual(keptOf(fits), { submission: fits, isCut: false })
  assert.deepEqual(prompt('x'.repeat(most + 1)), { submission: fits, isCut: true })
  assert.equal(prompt(`${'x'.repeat(most - 1)}😀`).submission.prompt, 'x'.repeat(most - 1))
  assert.equal(prompt(`${'x'.repeat(most - 1)}\ud800x`).submission.prompt?.length, most)
  const chat = submission('a', {
    prompt: undefined,
    messages: [
      { role: 'system', content: 'short' },
      { role: 'user', content: 'y'.repeat(most) },
      { role: 'user', content: 'z' },
    ],
  })
  const kept = keptOf(chat)
  assert.deepEqual([kept.isCut, kept.submission.messages?.map(({ content }) => content.length)], [true, [5, most - 45]])
  // nothing is kept of what begins where there is no room left
  const user = (length: number): { role: 'user'; content: string } => ({ role: 'user', content: 'y'.repeat(length) })
  const full = keptOf(submission('a', { prompt: undefined, messages: [user(most - 40), user(0)] }))
  assert.deepEqual(full, {
    submission: submission('a', { prompt: undefined, messages: [user(most - 40)] }),
    isCut: true,
  })
  const content = fc.string({ maxLength: 3000 })
  fc.assert(
    fc.property(fc.array(content, { minLength: 1, maxLength: 300 }), (texts) => {
      const before = submission('a', {
        prompt: undefined,
        messages: texts.map((text) => ({ role: 'user', content: text })),
      })
      const { submission: after, isCut } = keptOf(before)
      assert.ok((after.messages ?? []).length > 0)
      assert.ok((after.messages ?? []).reduce((sum, message) => sum + message.content.length + 40, 0) <= most + 40)
      assert.equal(isCut, JSON.stringify(after) !== JSON.stringify(before))
    }),
    { numRuns: 30 },
  )
})

test('prompt length: exactly one way to ask; what is sealed has its stop strings sealed along', () => {
  type Asked = Parameters<typeof checkAsked>[0]
  const asked = (change: object): Asked => ({ stop: [], ...change }) as unknown as Asked
  const sealed = { box: 'b' }
  for (const good of [{ prompt: '' }, { messages: [] }, { sealed }, { prompt: 'a', stop: ['x'], special: true }])
    checkAsked(asked(good))
  for (const bad of [
    {},
    { prompt: '', messages: [] },
    { prompt: '', sealed },
    { sealed, stop: ['x'] },
    { sealed, special: false },
    { sealed, special: true, stop: ['x'] },
  ])
    assert.throws(() => checkAsked(asked(bad)), { code: 'requestInvalid' })
})
