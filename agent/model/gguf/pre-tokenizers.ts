/**
 * How text is cut into words, by the name that a GGUF file gives it (`tokenizer.ggml.pre`): as the tokenizer.json of
 * the models has it that the name was made for.
 */
import type { Json } from '../json.ts'

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const spaces = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
/** Words of letters, numbers of up to `digits` digits, runs of other characters. */
const letterWords = (digits: string, letters = '\\p{L}'): string =>
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?${letters === '\\p{L}' ? letters : `[${letters}]`}+|\\p{N}${digits}| ` +
  `?[^\\s${letters}\\p{N}]+[\\r\\n]*|${spaces}`

const gpt2Words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"

const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
/** Words that end where small letters turn into capitals. */
const caseWords = (digits: string, after: string): string =>
  `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+${after}|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*${after}|\\p{N}${digits}| ` +
  `?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${spaces}`

const split = (Regex: string): Json => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })
const bytes = (isGpt2: boolean): Json => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: false,
  use_regex: isGpt2,
})

export interface GgufPreTokenizer {
  readonly steps: readonly Json[]
  /** A word that is a token is that token, whatever the merges say. */
  readonly ignoresMerges?: true
  /** Texts begin with the begin token, unless the file says otherwise. */
  readonly addsBegin?: true
  /** Where a file has no merges, they are in the order of the tokens (tiktoken). */
  readonly mayLackMerges?: true
  readonly normalizer?: Json
}

const patterns = (...list: readonly string[]): readonly Json[] => [...list.map(split), bytes(false)]
const nfc: Json = { type: 'NFC' }
const llama3: GgufPreTokenizer = { steps: patterns(letterWords('{1,3}')) }
const llama3Whole: GgufPreTokenizer = { ...llama3, ignoresMerges: true, addsBegin: true }
const qwen2: GgufPreTokenizer = { steps: patterns(letterWords('')) }
const singleDigits: GgufPreTokenizer = { steps: [{ type: 'Digits', individual_digits: true }, bytes(true)] }
const gpt4o: GgufPreTokenizer = { steps: patterns(caseWords('{1,3}', `${contractions}?`)) }
const gpt2: GgufPreTokenizer = { steps: [bytes(true)] }
const deepseek3: GgufPreTokenizer = {
  steps: patterns(
    '\\p{N}{1,3}',
    '[一-龥぀-ゟ゠-ヿ]+',
    `[!"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_\`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ` +
      `?[\\p{P}\\p{S}]+[\\r\\n]*|${spaces}`,
  ),
}

/** As `caseWords`, with runs of Chinese letters as words of their own. */
const kimi = (): string => {
  const [large, small] = [upper, lower].map((letters) => `(?:(?!\\p{Script=Han})${letters})`)
  const before = '[^\\r\\n\\p{L}\\p{N}]?'
  return (
    `\\p{Script=Han}+|${before}${large}*${small}+${contractions}?|${before}${large}+${small}*${contractions}?|` +
    `\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${spaces}`
  )
}

const shared = (names: string, one: GgufPreTokenizer): Record<string, GgufPreTokenizer> =>
  Object.fromEntries(names.split(' ').map((name) => [name, one]))

/** By name. */
export const ggufPreTokenizers: Readonly<Record<string, GgufPreTokenizer>> = {
  ...shared('llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2', llama3Whole),
  ...shared('dbrx smaug-bpe glm4 chatglm-bpe', llama3),
  qwen2: { ...qwen2, normalizer: nfc },
  ...shared('deepseek-r1-qwen stablelm2 hunyuan megrez kormo solar-open', qwen2),
  qwen35: { steps: patterns(letterWords('', '\\p{L}\\p{M}')), normalizer: nfc },
  ...shared('gpt-4o llama4 minimax-m2 kanana2', gpt4o),
  tekken: { steps: patterns(caseWords('', '')), ignoresMerges: true, addsBegin: true },
  ...shared('deepseek-v3 hunyuan-dense joyai-llm', deepseek3),
  'deepseek-coder': {
    steps: patterns('[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', '[一-龥ࠀ-一가-퟿]+', '\\p{N}'),
  },
  'kimi-k2': { steps: patterns(kimi()), mayLackMerges: true },
  'seed-coder': {
    steps: patterns(`${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${spaces}`),
  },
  ...shared('smollm starcoder refact command-r codeshell exaone minerva-7b mellum2', singleDigits),
  ...shared('gpt-2 phi-2 olmo exaone4 mpt jais trillion gigachat a.x-4.0 mellum granite-docling', gpt2),
  // what llama.cpp does with files that name nothing better
  default: { steps: patterns('[\\p{P}\\$\\+<=>\\^~\\|]+', gpt2Words, '\\p{N}+', '[0-9][0-9][0-9]') },
}
