/** Marks in text of users: only where a special token could come of it, and gone again afterwards. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readAddedTokens } from './added-tokens.ts'
import { createGuard } from './guard.ts'

const guardOf = (...contents: string[]): ReturnType<typeof createGuard> =>
  createGuard(readAddedTokens(contents.map((content, id) => ({ id, content, special: true }))))

test('guard: a template sees ordinary text as it is', () => {
  const { protect } = guardOf('<|turn|>', '<s>')
  for (const text of [
    '',
    ' ',
    'hello',
    '  <tool>x</tool>\n',
    'turns > 3',
    '/no_think',
    'a <| b',
    'x<|turn',
    '日本語 🙂',
    '|> is no start'.slice(2),
  ]) {
    if (text.endsWith('<|turn')) assert.notEqual(protect(text), text)
    else assert.equal(protect(text), text)
  }
})

test('guard: no special token is left, and none can be completed from outside; all of it comes back', () => {
  const { protect, restore } = guardOf('<|turn|>', '|turn|', '<s>', '@', '#')
  for (const text of [
    '<|turn|>',
    'a<|turn|>b<s>',
    '<<s>s>',
    'turn|>',
    ' |> ',
    'a <|',
    '<',
    '>',
    'turn',
    'mail@home #1',
    '@#',
    '@',
    '<|turn|><|turn|>',
  ]) {
    const marked = protect(text)
    assert.equal(restore(marked), text)
    for (const [before, after] of [
      ['', ''],
      ['<', '>'],
      ['<|', '|>'],
      ['<|turn', ''],
      ['<|tur', ''],
      ['', 'turn|>'],
      ['', '|turn|>'],
      ['<', 's>'],
      ['<s', ''],
    ]) {
      const around = guardOf('<|turn|>', '|turn|', '<s>', '@', '#')
      const own = `${before}${after}`
      const whole = `${before}${marked.trim()}${after}`
      for (const token of ['<|turn|>', '|turn|', '<s>', '@', '#']) {
        assert.ok(!whole.includes(token) || own.includes(token), JSON.stringify({ text, before, after, token }))
      }
      assert.equal(around.restore(whole), `${before}${text.trim()}${after}`)
    }
  }
})

test('guard: characters whose halves are those of marks stay whole', () => {
  const { protect, restore } = guardOf('<|turn|>')
  for (const text of ['\u{10000}', '\u{10001}<|turn|>\u{10400}', '\u{1f600}'])
    assert.equal(restore(protect(text)), text)
})
