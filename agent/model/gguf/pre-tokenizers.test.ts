/** How text is cut by every name that a GGUF file may give it, beside llama.cpp's own tokenizer on the same file. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { hasGgml } from '../../engine/ggml/library.ts'
import { type LlamaCpp, startLlamaCpp } from '../architecture/test/llama-cpp.ts'
import { byteLetters } from '../tokenizer/byte-tokens.ts'
import { families, hardTexts } from '../tokenizer/test/families.ts'
import { loadTokenizer, type Tokenizer } from '../tokenizer.ts'
import { ggufPreTokenizers } from './pre-tokenizers.ts'
import { type TokenizerJson, tokenizerMetadata } from './test/tokenizer-metadata.ts'
import { type TypedValue, writeGguf } from './write-gguf.ts'

const folder = mkdtempSync(join(tmpdir(), 'mesh-pre-tokenizers-'))
let llama: LlamaCpp | undefined
before(() => {
  if (hasGgml()) llama = startLlamaCpp()
})
after(async () => {
  await llama?.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Where kinds of letters, digits and signs meet in ways that the hard texts lack. */
const mixed = [
  '東京abcのテキスト中文Kana日本語の文字1234567年です。',
  "漢字's 字'll 仮名カナ漢X字 A漢 漢A aB漢c HTTPServer漢字Parser's",
  'x=1234567890;y=-12.5e+10//comment\r\n\r\n\t\tif(a<=b){return~c^d|e;}',
  "I'M don't WE'LL they're 'tis ''quoted'' ٣٤٥٦٧ १२३४५ Ⅷ½",
  '가나다 라마바 ㄱㄴ 中文한글にほんご กขค ภาษาไทย',
  ' \u00a0\u3000 x  \n \n\n  y\t\r\n z   ',
]
const allTexts = [...hardTexts, ...mixed]

/** Every two bytes that meet anywhere are a token: a cut between them shows. */
const pairsModel = (): TokenizerJson => {
  const pairs = new Map<string, [string, string]>()
  for (const text of allTexts) {
    const letters = Array.from(Buffer.from(text), (byte) => byteLetters[byte])
    for (let at = 1; at < letters.length; at++) {
      const pair: [string, string] = [letters[at - 1], letters[at]]
      pairs.set(pair.join(''), pair)
    }
  }
  const names = [...byteLetters, ...pairs.keys()]
  return {
    added_tokens: [],
    model: { vocab: Object.fromEntries(names.map((name, id) => [name, id])), merges: [...pairs.values()] },
  }
}
const ofPairs = pairsModel()

const metadataOf = (family: TokenizerJson, kind: 'llama' | 'gpt2' | 'gemma4', pre?: string) => ({
  'general.architecture': { type: 'string', value: 'llama' } as TypedValue,
  'llama.context_length': { type: 'u32', value: 64 } as TypedValue,
  'tokenizer.ggml.add_bos_token': { type: 'bool', value: false } as TypedValue,
  ...tokenizerMetadata({ ...family, added_tokens: [] }, kind, pre),
})

const written = (metadata: Readonly<Record<string, TypedValue | undefined>>): string => {
  const said = Object.entries(metadata).filter((entry): entry is [string, TypedValue] => entry[1] !== undefined)
  return writeGguf(join(folder, 'one.gguf'), { metadata: Object.fromEntries(said), tensors: [] })[0]
}
const tokenizerOf = (metadata: Readonly<Record<string, TypedValue | undefined>>) => loadTokenizer(written(metadata))
const fileOf = (...of: Parameters<typeof metadataOf>): string => written(metadataOf(...of))

const assertSame = (tokenizer: Tokenizer, texts: readonly string[], want: readonly (readonly number[])[]): void => {
  for (const [i, text] of texts.entries()) assert.deepEqual(tokenizer.encode(text), want[i], JSON.stringify(text))
}

/** Texts of which llama.cpp departs from the expression of the makers: Rust's `tokenizers` is the judge there. */
const departs: Readonly<Record<string, RegExp>> = {
  // it tells large letters from small ones in ASCII alone, and takes no marks for letters
  ...Object.fromEntries(
    ['gpt-4o', 'llama4', 'minimax-m2', 'kanana2', 'tekken'].map((name) => [
      name,
      /\p{M}|[[\p{Lu}\p{Ll}\p{Lt}]--[A-Za-z]]/v,
    ]),
  ),
  'kimi-k2': /\p{M}/u,
  // its white space is that of ASCII
  'deepseek-coder': /[\u0085\u00a0\u2000-\u200a\u3000]/,
}

for (const [name, { normalizer }] of Object.entries(ggufPreTokenizers)) {
  test(`pre-tokenizer ${name}: tokens of hard texts are those of llama.cpp`, async () => {
    const file = fileOf(ofPairs, 'gpt2', name)
    const tokenizer = loadTokenizer(file)
    const texts = allTexts.filter(
      // it normalises nothing
      (text) => !departs[name]?.test(text) && (!normalizer || text.normalize('NFC') === text),
    )
    assert.ok(texts.length > 300, `${texts.length} texts`)
    const theirs = await llama?.tokenize(file, texts)
    if (theirs) assertSame(tokenizer, texts, theirs)
  })
}

test('pre-tokenizer kimi-k2: a file without merges has them in the order of its tokens', () => {
  const metadata = metadataOf(ofPairs, 'gpt2', 'kimi-k2')
  const [with_, without] = [metadata, { ...metadata, 'tokenizer.ggml.merges': undefined }].map(tokenizerOf)
  assertSame(
    without,
    allTexts,
    allTexts.map((text) => with_.encode(text)),
  )
  assert.throws(() => tokenizerOf({ ...metadataOf(ofPairs, 'gpt2', 'tekken'), 'tokenizer.ggml.merges': undefined }), {
    message: /no tokenizer\.ggml\.merges/,
  })
})

for (const [name, kind] of [
  ['llama-2', 'llama'],
  ['gemma', 'llama'],
  ['gemma', 'gemma4'],
] as const) {
  test(`vocabulary of ${name} as ${kind}: tokens of 500 hard texts are those of llama.cpp`, async () => {
    const file = fileOf(families[name], kind, kind === 'gemma4' ? 'gemma4' : undefined)
    const tokenizer = loadTokenizer(file)
    const theirs = await llama?.tokenize(file, allTexts)
    if (!theirs) return
    assertSame(tokenizer, allTexts, theirs)
  })
}
