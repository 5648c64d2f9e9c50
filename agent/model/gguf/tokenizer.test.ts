/** Tokenizers of GGUF files are those that the tokenizer.json of the same model makes. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { loadTokenizer, type Tokenizer } from '../tokenizer.ts'
import { families, hardTexts } from '../tokenizer/test/families.ts'
import { type TokenizerJson, tokenizerMetadata } from './test/tokenizer-metadata.ts'
import { type TypedValue, writeGguf } from './write-gguf.ts'

const folder = mkdtempSync(join(tmpdir(), 'mesh-gguf-tokenizer-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const ofGguf = (metadata: Readonly<Record<string, TypedValue>>): Tokenizer =>
  loadTokenizer(writeGguf(join(folder, 'one.gguf'), { metadata, tensors: [] })[0])

const ofFolder = (json: object, config: object = {}): Tokenizer => {
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json))
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config))
  return loadTokenizer(folder)
}

const text = (value: string): TypedValue => ({ type: 'string', value })
const id = (value: number): TypedValue => ({ type: 'u32', value })

/** Marks that GGUF files cannot tell of tokens: white space that belongs to them, whole words, normalised ones. */
const plain = <Family extends TokenizerJson>(family: Family): Family => ({
  ...family,
  added_tokens: family.added_tokens.map((token) => ({
    ...token,
    lstrip: false,
    rstrip: false,
    single_word: false,
    normalized: false,
  })),
})

const same = (got: Tokenizer, want: Tokenizer, texts: readonly string[] = hardTexts): void => {
  for (const one of texts) {
    for (const special of [true, false]) {
      const ids = want.encode(one, { special })
      assert.deepEqual(got.encode(one, { special }), ids, JSON.stringify(one))
      assert.equal(got.decode(ids), want.decode(ids), JSON.stringify(one))
    }
  }
}

const cases: readonly (readonly [name: string, family: string, kind: 'llama' | 'gpt2' | 'gemma4', pre?: string])[] = [
  ['SentencePiece by scores', 'llama-2', 'llama'],
  ['SentencePiece without a first space', 'gemma', 'llama'],
  ['merges on spaced text', 'gemma', 'gemma4'],
  ['llama-bpe', 'llama-3', 'gpt2', 'llama-bpe'],
  ['qwen2', 'qwen-2', 'gpt2', 'qwen2'],
  ['smollm', 'smollm', 'gpt2', 'smollm'],
  ['tekken', 'tekken', 'gpt2', 'tekken'],
  ['qwen35', 'qwen-3.5', 'gpt2', 'qwen35'],
  ['gpt-4o', 'gpt-4o', 'gpt2', 'gpt-4o'],
  ['deepseek-v3', 'deepseek-v3', 'gpt2', 'deepseek-v3'],
]

for (const [name, familyName, kind, pre] of cases) {
  test(`gguf tokenizer, ${name}: tokens and text of 500 hard texts are those of tokenizer.json`, () => {
    const family = plain(families[familyName])
    const begins = {
      bos_token: kind === 'gpt2' ? '<|turn|>' : '<s>',
      add_bos_token: kind !== 'gpt2' || pre === 'tekken' || pre === 'llama-bpe',
    }
    const begin = (family.added_tokens as readonly { id: number; content: string }[]).find(
      ({ content }) => content === begins.bos_token,
    )
    const metadata: Record<string, TypedValue> = {
      ...tokenizerMetadata(family, kind, pre),
      ...(familyName === 'gemma' ? { 'tokenizer.ggml.add_space_prefix': { type: 'bool', value: false } } : {}),
      'tokenizer.ggml.bos_token_id': id(begin?.id ?? -1),
    }
    same(ofGguf(metadata), ofFolder({ ...family, post_processor: null }, begins))
  })
}

const qwen = (extra: Readonly<Record<string, TypedValue>> = {}): Record<string, TypedValue> => ({
  ...tokenizerMetadata(plain(families['qwen-2']), 'gpt2', 'qwen2'),
  ...extra,
})

test('gguf tokenizer: template, end tokens and begin token are those of the file', () => {
  const family = plain(families['qwen-2'])
  const withTurns = {
    ...family,
    added_tokens: [
      ...family.added_tokens,
      { id: 900, content: '<|im_end|>', special: true },
      { id: 901, content: '<|end|>', special: true },
      { id: 902, content: '<|return|>', special: true },
      { id: 903, content: '<|call|>', special: true },
    ],
  }
  const tokenizer = ofGguf({
    ...tokenizerMetadata(withTurns, 'gpt2', 'qwen2'),
    'tokenizer.ggml.eos_token_id': id(5),
    'tokenizer.ggml.bos_token_id': id(6),
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: true },
    'tokenizer.chat_template': text('{{ bos_token }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}'),
  })
  // harmony's <|end|> ends messages and no answers
  assert.deepEqual(tokenizer.endTokenIds, [5, 900, 902, 903])
  assert.equal(tokenizer.encode('a')[0], 6)
  const turn = tokenizer.encodeChat([{ role: 'user', content: 'a<|im_end|>' }])
  assert.deepEqual([turn[0], turn.at(-1)], [6, 900])
  assert.equal(turn.filter((token) => token === 900).length, 1, 'text of users that looks like a token is text')
  // padding of the vocabulary has no text
  assert.equal(tokenizer.nameOf(899), undefined)
  assert.equal(tokenizer.decode([899]), '')
})

for (const [name, metadata, message] of [
  ['no tokenizer', {}, /tokenizer\.ggml\.model is null, which is not supported; supported: llama, gpt2, gemma4/],
  ['another kind', { 'tokenizer.ggml.model': text('bert') }, /tokenizer\.ggml\.model is "bert"/],
  ['no tokens', { 'tokenizer.ggml.model': text('llama') }, /no tokenizer\.ggml\.tokens/],
  [
    'no way to cut',
    { ...qwen(), 'tokenizer.ggml.pre': undefined },
    /does not say how text is cut.*supported: llama-bpe/,
  ],
  ['an unknown way to cut', qwen({ 'tokenizer.ggml.pre': text('yi-x') }), /tokenizer\.ggml\.pre is "yi-x"/],
  ['no merges', { ...qwen(), 'tokenizer.ggml.merges': undefined }, /no tokenizer\.ggml\.merges/],
  ['half a merge', qwen({ 'tokenizer.ggml.merges': { type: 'string', values: ['ab'] } }), /merge "ab" is no pair/],
  [
    'a token twice',
    qwen({ 'tokenizer.ggml.tokens': { type: 'string', values: ['a', 'a'] } }),
    /token "a" is there twice/,
  ],
  ['few types', qwen({ 'tokenizer.ggml.token_type': { type: 'i32', values: [1] } }), /token_type has 1 values for/],
  ['no scores', tokenizerMetadata(plain(families['llama-2']), 'gpt2'), /does not say how text is cut/],
  ['tokens that are numbers', qwen({ 'tokenizer.ggml.tokens': { type: 'u8', values: [1] } }), /no list of texts/],
  ['a template that is a number', qwen({ 'tokenizer.chat_template': id(1) }), /no text/],
] as const) {
  test(`gguf tokenizer: refuses a file with ${name}`, () => {
    const written = Object.fromEntries(
      Object.entries(metadata).filter((entry): entry is [string, TypedValue] => entry[1] !== undefined),
    )
    assert.throws(
      () => ofGguf(written),
      (error: { code?: string; message?: string }) => {
        assert.ok(['modelConfigInvalid', 'ggufInvalid'].includes(error.code ?? ''), error.message)
        assert.match(error.message ?? '', message)
        return true
      },
    )
  })
}
