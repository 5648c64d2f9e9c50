/** Small tokenizers of the kinds that models have, with vocabularies made up here; and texts that are hard to cut. */
import { byteLetters, byteNames } from '../byte-tokens.ts'

type Parts = Readonly<Record<string, unknown>>
interface Family extends Parts {
  readonly added_tokens: readonly object[]
  readonly model: Parts
}

const sample = `Once upon a time there was a little girl. She said "it's a lovely day, isn't it?" and they'll go out: 12345 times in 2024!
def main(argv):\n    return [x for x in range(10)]\n\n\tif x == y: print("hello world")\n   the end of the Straße, naïve café déjà vu, ñandú über alles.
Привет, мир! Это пример текста для токенизатора. 日本語のテキスト、東京都に住んでいます。 한국어 텍스트 مرحبا بالعالم 🙂🚀 the there then them this that
HTTPServer getElementById XMLHttpRequest camelCase snake_case CONSTANT_VALUE www.example.com/path?query=1&other=2 3.14159 -42 1,000,000`

/** Merges of the commonest neighbours, one after another (Sennrich et al., 2016). */
const trainMerges = (words: readonly (readonly string[])[], count: number): [string, string][] => {
  let current = words.map((word) => [...word])
  const merges: [string, string][] = []
  for (let round = 0; round < count; round++) {
    const pairs = new Map<string, { pair: [string, string]; times: number }>()
    for (const word of current) {
      for (let i = 0; i + 1 < word.length; i++) {
        const key = `${word[i]}\0${word[i + 1]}`
        const held = pairs.get(key) ?? { pair: [word[i], word[i + 1]], times: 0 }
        pairs.set(key, { ...held, times: held.times + 1 })
      }
    }
    const best = [...pairs.values()].toSorted(
      (a, b) => b.times - a.times || (a.pair.join('\0') < b.pair.join('\0') ? -1 : 1),
    )[0]
    if (!best || best.times < 2) break
    merges.push(best.pair)
    current = current.map((word) => {
      const out: string[] = []
      for (let i = 0; i < word.length; i++) {
        if (word[i] === best.pair[0] && word[i + 1] === best.pair[1]) out.push(word[i] + word[++i])
        else out.push(word[i])
      }
      return out
    })
  }
  return merges
}

const numbered = (names: Iterable<string>): Record<string, number> =>
  Object.fromEntries([...new Set(names)].map((name, id) => [name, id]))

const letters = (text: string): string[] => Array.from(Buffer.from(text), (byte) => byteLetters[byte])

const byteLevelModel = (pattern: RegExp, options: object = {}): Parts => {
  const merges = trainMerges((sample.match(pattern) ?? []).map(letters), 220)
  return {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: numbered([...byteLetters, ...merges.map((pair) => pair.join(''))]),
    merges: merges.map((pair) => pair.join(' ')),
    ...options,
  }
}

const spaced = sample.replaceAll(' ', '▁')

/** SentencePiece's kind of BPE: letters of the sample but the rare ones, bytes for the others. */
const spaceModel = (): Parts => {
  const merges = trainMerges(
    (spaced.match(/▁?[^▁\n]+/gu) ?? []).map((word) => [...word]),
    220,
  )
  const known = [...new Set(spaced)].filter((letter) => !'🚀ñمر京'.includes(letter))
  const usable = merges.filter((pair) => pair.every((part) => [...part].every((letter) => known.includes(letter))))
  return {
    type: 'BPE',
    dropout: null,
    unk_token: '<unk>',
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: true,
    byte_fallback: true,
    vocab: numbered(['<unk>', '<s>', '</s>', ...byteNames, ...known, ...usable.map((pair) => pair.join(''))]),
    merges: usable,
  }
}

const unigramModel = (byteFallback: boolean): Parts => {
  const words = (spaced.match(/▁?[^▁\n]+/gu) ?? []).filter(
    (word) => !'🚀ñمر京'.split('').some((rare) => word.includes(rare)),
  )
  const counts = new Map<string, number>()
  for (const word of words) {
    const parts = [...word]
    for (let from = 0; from < parts.length; from++) {
      for (let to = from + 1; to <= Math.min(parts.length, from + 6); to++) {
        const piece = parts.slice(from, to).join('')
        counts.set(piece, (counts.get(piece) ?? 0) + 1)
      }
    }
  }
  const pieces = [...counts]
    .filter(([piece, count]) => count > 1 || [...piece].length === 1)
    .map(([piece, count]): [string, number] => [piece, Math.log(count * [...piece].length ** 2) - 9])
  return {
    type: 'Unigram',
    unk_id: 0,
    vocab: [
      ['<unk>', 0],
      ['<s>', 0],
      ['</s>', 0],
      ...(byteFallback ? byteNames.map((name): [string, number] => [name, 0]) : []),
      ...pieces,
    ],
    byte_fallback: byteFallback,
  }
}

const plainToken = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }

/** Numbered behind the vocabulary, as Rust's `tokenizers` does it whatever the file says. */
const withAdded = (family: Family, tokens: readonly object[]): Family => {
  const { vocab } = family.model
  const size = Array.isArray(vocab) ? vocab.length : Object.keys(vocab as object).length
  return {
    ...family,
    added_tokens: [
      ...family.added_tokens,
      ...tokens.map((token, index) => ({ id: size + index, ...plainToken, ...token })),
    ],
  }
}

const llama2Tokens = [
  { id: 0, content: '<unk>', ...plainToken },
  { id: 1, content: '<s>', ...plainToken },
  { id: 2, content: '</s>', ...plainToken },
]

const variety = [
  { content: '<|turn|>' },
  { content: '<|turn|>x' },
  { content: '<tool>', special: false, normalized: true },
  { content: '<left>', lstrip: true },
  { content: '<right>', rstrip: true },
  { content: 'word', single_word: true, special: false },
  { content: '<both>', lstrip: true, rstrip: true, special: false },
  { content: '\n\n\n', special: false },
]

const template = (...ids: [string, number][]): object => ({
  type: 'TemplateProcessing',
  single: [...ids.map(([id]) => ({ SpecialToken: { id, type_id: 0 } })), { Sequence: { id: 'A', type_id: 0 } }],
  pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
  special_tokens: Object.fromEntries(ids.map(([id, number]) => [id, { id, ids: [number], tokens: [id] }])),
})

const spaceDecoder = {
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ],
}
const byteLevel = (options: object): object => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: true,
  ...options,
})
const split = (Regex: string, options: object = {}): object => ({
  type: 'Split',
  pattern: { Regex },
  behavior: 'Isolated',
  invert: false,
  ...options,
})

const llama3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const gpt2 = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu
const tekken =
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

const qwen35 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const gpt4o =
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const deepseek =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

const base = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: [] as readonly object[],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
}

/** A table as SentencePiece writes it: of each text the one that takes its place. */
const charsmap = (replacements: Readonly<Record<string, string>>): string => {
  const blob: number[] = []
  interface Node {
    readonly children: Map<number, Node>
    value?: number
  }
  const root: Node = { children: new Map() }
  for (const [from, to] of Object.entries(replacements)) {
    let node = root
    for (const byte of Buffer.from(from)) {
      const child: Node = node.children.get(byte) ?? { children: new Map() }
      node.children.set(byte, child)
      node = child
    }
    node.value = blob.length
    blob.push(...Buffer.from(to), 0)
  }
  const units = new Uint32Array(1 << 14)
  const used = new Set([0])
  const place = (node: Node, at: number): void => {
    const labels = [...(node.value === undefined ? [] : [0]), ...node.children.keys()]
    let from = 1
    while (!labels.every((label) => !used.has(from ^ label))) from++
    units[at] |= ((from ^ at) << 10) | (node.value === undefined ? 0 : 1 << 8)
    for (const label of labels) used.add(from ^ label)
    if (node.value !== undefined) units[from] = node.value | (1 << 31)
    for (const [label, child] of node.children) {
      units[from ^ label] = label
      place(child, from ^ label)
    }
  }
  place(root, 0)
  const size = Buffer.alloc(4)
  size.writeUInt32LE(units.byteLength)
  return Buffer.concat([size, Buffer.from(units.buffer), Buffer.from(blob)]).toString('base64')
}

const nfkcLike = charsmap({
  ﬁ: 'fi',
  '①': '1',
  Ａ: 'A',
  ｆ: 'f',
  ｕ: 'u',
  '½': '1⁄2',
  '²': '2',
  Ⅷ: 'VIII',
  '…': '...',
  '\u00a0': ' ',
  '\u3000': ' ',
  '\t': ' ',
  '\n': ' ',
  '\r': '',
  '\u200b': '',
  'e\u0301': 'é',
  'a\u0308': 'ä',
  '\ufeff': '',
  '“': '"',
  '”': '"',
  İ: 'I',
  '👩': 'woman',
  の: 'ノ',
})

const plainFamilies: Readonly<Record<string, Family>> = {
  'llama-2': {
    ...base,
    added_tokens: llama2Tokens,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    post_processor: template(['<s>', 1]),
    decoder: spaceDecoder,
    model: spaceModel(),
  },
  'llama-2, later file': {
    ...base,
    added_tokens: llama2Tokens,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
    post_processor: template(['<s>', 1]),
    decoder: spaceDecoder,
    model: spaceModel(),
  },
  'llama-3': {
    ...base,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [split(llama3), byteLevel({ use_regex: false })] },
    post_processor: {
      type: 'Sequence',
      processors: [byteLevel({ add_prefix_space: true, trim_offsets: false }), template(['a', 66])],
    },
    decoder: byteLevel({ add_prefix_space: true }),
    model: byteLevelModel(gpt2, { ignore_merges: true }),
  },
  'qwen-2': {
    ...base,
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [split(llama3.replace('{1,3}', '')), byteLevel({ use_regex: false, trim_offsets: false })],
    },
    post_processor: byteLevel({ trim_offsets: false }),
    decoder: byteLevel({ trim_offsets: false }),
    model: byteLevelModel(gpt2),
  },
  smollm: {
    ...base,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel({})] },
    decoder: byteLevel({ add_prefix_space: true }),
    model: byteLevelModel(gpt2),
  },
  tekken: {
    ...base,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [split(tekken), byteLevel({ use_regex: false })] },
    decoder: byteLevel({ add_prefix_space: true }),
    model: byteLevelModel(gpt2, { ignore_merges: true }),
  },
  'qwen-3.5': {
    ...base,
    normalizer: { type: 'NFC' },
    pre_tokenizer: { type: 'Sequence', pretokenizers: [split(qwen35), byteLevel({ use_regex: false })] },
    decoder: byteLevel({}),
    model: byteLevelModel(gpt2),
  },
  'gpt-4o': {
    ...base,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [split(gpt4o), byteLevel({ use_regex: false })] },
    decoder: byteLevel({}),
    model: byteLevelModel(gpt2),
  },
  'deepseek-v3': {
    ...base,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        split('\\p{N}{1,3}'),
        split('[一-龥぀-ゟ゠-ヿ]+'),
        split(deepseek),
        byteLevel({ use_regex: false }),
      ],
    },
    decoder: byteLevel({}),
    model: byteLevelModel(gpt2),
  },
  'gpt-2 with prefix': {
    ...base,
    pre_tokenizer: byteLevel({ add_prefix_space: true }),
    decoder: byteLevel({}),
    model: byteLevelModel(gpt2),
  },
  gemma: {
    ...base,
    added_tokens: llama2Tokens,
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
    post_processor: template(['<s>', 1]),
    decoder: { type: 'Sequence', decoders: spaceDecoder.decoders.slice(0, 3) },
    model: spaceModel(),
  },
  'unigram with bytes': {
    ...base,
    added_tokens: llama2Tokens,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    decoder: spaceDecoder,
    model: unigramModel(true),
  },
  'unigram with bytes, uncut': {
    ...base,
    added_tokens: llama2Tokens,
    normalizer: {
      type: 'Sequence',
      normalizers: [{ type: 'NFKC' }, { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' }],
    },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
    decoder: spaceDecoder,
    model: unigramModel(true),
  },
  'unigram with a table': {
    ...base,
    added_tokens: llama2Tokens,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Precompiled', precompiled_charsmap: nfkcLike },
        { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' },
      ],
    },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    decoder: spaceDecoder,
    model: unigramModel(true),
  },
  unigram: {
    ...base,
    added_tokens: llama2Tokens,
    normalizer: { type: 'Strip', strip_left: true, strip_right: true },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', add_prefix_space: true },
    decoder: { type: 'Metaspace', replacement: '▁', add_prefix_space: true },
    model: unigramModel(false),
  },
  words: {
    ...base,
    normalizer: { type: 'Sequence', normalizers: [{ type: 'Lowercase' }, { type: 'NFD' }, { type: 'StripAccents' }] },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Whitespace' },
        { type: 'Digits', individual_digits: false },
        { type: 'Punctuation', behavior: 'Contiguous' },
      ],
    },
    decoder: { type: 'BPEDecoder', suffix: '</w>' },
    model: { ...spaceModel(), byte_fallback: false, fuse_unk: false },
  },
  'merged with next': {
    ...base,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'WhitespaceSplit' },
        split('[a-e]', { behavior: 'MergedWithNext' }),
        split('[n-t0-4]', { behavior: 'MergedWithPrevious' }),
        split('[,;]', { behavior: 'Removed' }),
        split('[^!]+', { behavior: 'Removed', invert: true }),
      ],
    },
    decoder: { type: 'Fuse' },
    model: spaceModel(),
  },
}

/** Under the name of a family. */
export const families: Readonly<Record<string, Family>> = Object.fromEntries(
  Object.entries(plainFamilies).map(([name, family]) => [
    name,
    name.startsWith('unigram') && !name.endsWith('uncut') ? family : withAdded(family, variety),
  ]),
)

const strings = [
  '',
  ' ',
  '  ',
  '\n',
  '\t\t',
  'a',
  ' a',
  'a ',
  'Once upon a time',
  ' Once  upon   a time ',
  "it's they'll IT'S THEY'LL isn’t",
  '12345 1,000.50 ½ ² Ⅷ ٣٤٥ 2024年',
  'naïve café — “quotes” … ½',
  'e\u0301 combining a\u0308',
  '日本語のテキスト東京',
  '🙂🚀 mixed 👩‍👩‍👧 family 🇩🇪',
  'مرحبا بالعالم',
  'Привет, мир!',
  '한국어 텍스트',
  'ｆｕｌｌｗｉｄｔｈ ﬁ ligature',
  '\r\n windows \r\n\r\n lines',
  '\u00a0nbsp\u2003em\u3000ideographic',
  '\ufeffbom inside\ufeff',
  'zero\u200bwidth\u200djoin',
  'x\u0000y\u0007z',
  'ΑΣ ΣΟΦΟΣ ς İstanbul',
  'HTTPServer getElementById CONSTANT_VALUE',
  'https://www.example.com/path?query=1&other=2#x',
  '<s>',
  '</s>',
  'a</s>b',
  '<unk>',
  '<|turn|>',
  '<|turn|>x',
  'a <|turn|> b',
  '<|turn|><|turn|>',
  'a<tool>b <tool> c',
  'a  <left>  b',
  'a  <right>  b',
  'a <both> b<both>',
  'word sword word. words word',
  'a\n\n\n\nb',
  '<|tur',
  '<|turn|',
  '<0x0A>'.slice(0, 5),
  '▁a ▁ b▁',
  '_under_ __init__',
  'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  '                ',
  'a\n  \n b\n',
  "'S 'll 'D ſ's",
  '\ud83d\ude42\ufe0f',
  '\u{10000}\u{10ffff}',
  'tab\tand\vmore\fspace\u0085next',
  '!@#$%^&*()_+-=[]{}|;:,.<>?/~`',
  'déjà-vu Straße ÜBER',
]

/** Hard texts, and mixtures of them that come out the same every time. */
export const hardTexts: readonly string[] = [
  ...strings,
  ...Array.from({ length: 440 }, (_, i) =>
    [0, 1, 2]
      .map((part) => strings[(i * 7 + part * (13 + (i % 11)) + 1) % strings.length])
      .join(['', ' ', '\n'][i % 3]),
  ),
]
