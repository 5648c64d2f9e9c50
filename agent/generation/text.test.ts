/** Tokens to text while streaming: whole characters, stop strings. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { loadTokenizer } from '../model/tokenizer.ts'
import { createDetokenizer } from './detokenize.ts'
import { createStopMatcher } from './stop.ts'

const tokenizer = loadTokenizer(fileURLToPath(new URL('../../models/tiny-story', import.meta.url)))

const stream = (tokens: readonly number[]): string[] => {
  const detokenizer = createDetokenizer(tokenizer)
  return [...tokens.map((token) => detokenizer.push(token)), detokenizer.finish()]
}

const texts = [
  'Once upon a time',
  'naïve café — “quotes” … ½',
  '日本語のテキスト',
  '🙂🚀 mixed 👩‍👩‍👧 family',
  'e\u0301 combining',
  'مرحبا',
  '  spaces  \n\ttabs',
  '"Hey," said Bo.',
]

for (const text of texts) {
  test(`detokenizer: ${JSON.stringify(text)} comes out whole, and no piece ends inside a character`, () => {
    const pieces = stream(tokenizer.encode(text))
    assert.equal(pieces.join(''), text)
    for (const piece of pieces) assert.ok(!piece.includes('\ufffd') && piece.isWellFormed(), JSON.stringify(piece))
  })
}

test('detokenizer: any text comes out whole', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), (text) => {
      const tokens = tokenizer.encode(text)
      assert.equal(stream(tokens).join(''), tokenizer.decode(tokens))
    }),
    { numRuns: 300 },
  )
})

test('detokenizer: broken text is given out in the end', () => {
  const [, first] = tokenizer.encode('🙂')
  assert.equal(stream([first]).join(''), '\ufffd')
})

/** Decodes to itself, and counts how many tokens it is shown at a time. */
const letters = (): { readonly shown: number[]; decode(tokens: readonly number[]): string } => {
  const shown: number[] = []
  return {
    shown,
    decode: (tokens) => {
      shown.push(tokens.length)
      return tokens.map((token) => (token < 0 ? '' : String.fromCharCode(97 + token))).join('')
    },
  }
}

test('detokenizer: of the prompt it looks at four tokens, at more where these are no text, and never at 257', () => {
  const silent = (count: number): number[] => Array.from({ length: count }, () => -1)
  const longest = (prompt: readonly number[]): number => {
    const decoder = letters()
    createDetokenizer(decoder, prompt)
    return Math.max(...decoder.shown)
  }
  assert.equal(longest([1, 2, 3, 4, 5, 6]), 4)
  assert.equal(longest([1, ...silent(5), 2, ...silent(7)]), 8)
  assert.equal(longest([3, 1, ...silent(255)]), 256)
  assert.equal(longest(silent(300)), 256)
})

test('detokenizer: what it decodes for a token does not grow with the answer', () => {
  const decoder = letters()
  const detokenizer = createDetokenizer(decoder, [1, 2, 3, 4, 5, 6])
  const perToken = Array.from({ length: 40 }, (_, token) => {
    const from = decoder.shown.length
    assert.equal(detokenizer.push(token % 26), String.fromCharCode(97 + (token % 26)))
    return decoder.shown.slice(from)
  })
  // four tokens of the prompt serve until four of the answer do
  assert.deepEqual(perToken.slice(0, 5), [
    [4, 5],
    [5, 6],
    [6, 7],
    [7, 8, 4],
    [4, 5, 4],
  ])
  for (const shown of perToken.slice(5)) assert.deepEqual(shown, [4, 5, 4])
})

test('detokenizer: tokens without text do not take the place of those before them', () => {
  // as decoders do: the space that begins a text goes
  const decoder = {
    decode: (tokens: readonly number[]) =>
      tokens
        .map((token) => ['', ' you'][token])
        .join('')
        .trimStart(),
  }
  const detokenizer = createDetokenizer(decoder, [1, 1, 1, 1])
  for (let count = 0; count < 9; count++) assert.equal(detokenizer.push(0), '')
  assert.equal(detokenizer.push(1), ' you')
})

test('detokenizer: bytes that never become text are given out after eight of them', () => {
  const detokenizer = createDetokenizer({ decode: (tokens) => '\ufffd'.repeat(tokens.length) })
  for (let count = 0; count < 7; count++) assert.equal(detokenizer.push(0), '')
  assert.equal(detokenizer.push(0), '\ufffd'.repeat(8))
  assert.equal(detokenizer.finish(), '')
})

const run = (stops: string[], pieces: readonly string[]): { text: string; stopped: boolean } => {
  const matcher = createStopMatcher(stops)
  let text = ''
  for (const piece of pieces) {
    const seen = matcher.push(piece)
    text += seen.text
    if (seen.stopped) return { text, stopped: true }
  }
  return { text: text + matcher.finish(''), stopped: false }
}

test('stop: found across pieces, the text ends before it', () => {
  assert.deepEqual(run(['END'], ['abcE', 'N', 'Dxyz']), { text: 'abc', stopped: true })
  assert.deepEqual(run(['\n\n', 'Bob:'], ['Hi\n', 'Bo', 'b: no']), { text: 'Hi\n', stopped: true })
})

test('stop: what only looked like one is shown', () => {
  assert.deepEqual(run(['END'], ['abcE', 'Nd', 'EN']), { text: 'abcENdEN', stopped: false })
})

test('stop: nothing is shown that could still become one', () => {
  assert.equal(createStopMatcher(['STOP']).push('abSTO').text, 'ab')
})

test('stop: however the text is cut, the result is that of the whole', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 4 }), { maxLength: 12 }),
      fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 4 }), { maxLength: 3 }),
      (pieces, stops) => {
        const whole = pieces.join('')
        const at = Math.min(...stops.map((stop) => whole.indexOf(stop)).filter((index) => index >= 0))
        const got = run(stops, pieces)
        assert.equal(got.stopped, Number.isFinite(at))
        if (!got.stopped) assert.equal(got.text, whole)
        else
          assert.ok(
            whole.startsWith(got.text) && stops.some((stop) => whole.startsWith(stop, got.text.length)),
            JSON.stringify({ pieces, stops, got }),
          )
      },
    ),
    { numRuns: 500 },
  )
})
