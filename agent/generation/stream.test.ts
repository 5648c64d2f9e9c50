/** Text of an answer as it streams, with the kinds of tokenizers that models have. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadTokenizer, type Tokenizer } from '../model/tokenizer.ts'
import { families, hardTexts } from '../model/tokenizer/test/families.ts'
import { createDetokenizer } from './detokenize.ts'
import { createStopMatcher } from './stop.ts'

const load = (family: string): Tokenizer => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-stream-'))
  try {
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(families[family]))
    return loadTokenizer(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const idOf = (tokenizer: Tokenizer, name: string): number => {
  for (let id = 0; id < 10_000; id++) if (tokenizer.nameOf(id) === name) return id
  throw new Error(`no token ${name}`)
}

const stream = (tokenizer: Tokenizer, prompt: readonly number[], tokens: readonly number[]): string[] => {
  const detokenizer = createDetokenizer(tokenizer, prompt)
  return [...tokens.map((token) => detokenizer.push(token)), detokenizer.finish()]
}

test('an answer keeps the space of its first word, and a stop string that begins with one is found', () => {
  const tokenizer = load('llama-2')
  const answer = ['▁there', '▁the'].map((name) => idOf(tokenizer, name))
  for (const prompt of ['Once upon a', 'a🚀', 'x', 'Once\n']) {
    const pieces = stream(tokenizer, tokenizer.encode(prompt), answer)
    assert.deepEqual(pieces.slice(0, 2), [' there', ' the'], prompt)
    const matcher = createStopMatcher([' there'])
    assert.deepEqual(matcher.push(pieces[0]), { text: '', stopped: true })
  }
  // behind special tokens only, as templates end: still what the whole text has
  const turns = [...tokenizer.encode('Once'), ...Array.from({ length: 6 }, () => idOf(tokenizer, '<|turn|>'))]
  assert.deepEqual(stream(tokenizer, turns, answer).slice(0, 2), [' there', ' the'])
  // a text that begins here begins without it
  assert.equal(stream(tokenizer, tokenizer.encode(''), answer).join(''), 'there the')
})

test('characters of byte tokens come out of the stream whole', () => {
  for (const family of ['llama-2', 'unigram with bytes', 'unigram with bytes, uncut']) {
    const tokenizer = load(family)
    const answer = tokenizer.encode('the 🚀').slice(-4)
    const pieces = stream(tokenizer, tokenizer.encode('the'), [...answer, ...answer])
    assert.deepEqual(pieces, ['', '', '', '🚀', '', '', '', '🚀', ''], family)
    assert.equal(stream(tokenizer, tokenizer.encode('the'), [...answer, answer[0]]).join(''), '🚀\ufffd')
  }
})

test('ids that the tokenizer lacks are no text, in the middle of an answer either', () => {
  const tokenizer = load('llama-2')
  assert.equal(stream(tokenizer, tokenizer.encode('a'), [8000, idOf(tokenizer, '▁the'), 8001]).join(''), ' the')
})

for (const family of Object.keys(families)) {
  test(`${family}: the stream of an answer is the end of the whole text, wherever the answer begins`, () => {
    const tokenizer = load(family)
    for (const text of hardTexts) {
      const tokens = tokenizer.encode(text, { special: true })
      const whole = tokenizer.decode(tokens)
      for (const from of [0, Math.floor(tokens.length / 2)]) {
        const before = tokenizer.decode(tokens.slice(0, from))
        // else the prompt ends inside a character
        if (!whole.startsWith(before)) continue
        assert.equal(
          stream(tokenizer, tokens.slice(0, from), tokens.slice(from)).join(''),
          whole.slice(before.length),
          JSON.stringify({ text, from }),
        )
      }
    }
  })
}
