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
  readonly normalizer?: Json
}

const patterns = (...list: readonly string[]): readonly Json[] => [...list.map(split), bytes(false)]
const nfc: Json = { type: 'NFC' }
const llama3: GgufPreTokenizer = { steps: patterns(letterWords('{1,3}')) }
const singleDigits: GgufPreTokenizer = { steps: [{ type: 'Digits', individual_digits: true }, bytes(true)] }
const gpt4o: GgufPreTokenizer = { steps: patterns(caseWords('{1,3}', `${contractions}?`)) }
const gpt2: GgufPreTokenizer = { steps: [bytes(true)] }

/** By name. */
export const ggufPreTokenizers: Readonly<Record<string, GgufPreTokenizer>> = {
  'llama-bpe': { ...llama3, ignoresMerges: true, addsBegin: true },
  llama3: { ...llama3, ignoresMerges: true, addsBegin: true },
  'llama-v3': { ...llama3, ignoresMerges: true, addsBegin: true },
  dbrx: llama3,
  'smaug-bpe': llama3,
  glm4: llama3,
  'chatglm-bpe': llama3,
  qwen2: { steps: patterns(letterWords('')), normalizer: nfc },
  'deepseek-r1-qwen': { steps: patterns(letterWords('')) },
  qwen35: { steps: patterns(letterWords('', '\\p{L}\\p{M}')), normalizer: nfc },
  'gpt-4o': gpt4o,
  llama4: gpt4o,
  'minimax-m2': gpt4o,
  tekken: { steps: patterns(caseWords('', '')), ignoresMerges: true, addsBegin: true },
  'deepseek-v3': {
    steps: patterns(
      '\\p{N}{1,3}',
      '[一-龥぀-ゟ゠-ヿ]+',
      `[!"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_\`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ` +
        `?[\\p{P}\\p{S}]+[\\r\\n]*|${spaces}`,
    ),
  },
  smollm: singleDigits,
  starcoder: singleDigits,
  refact: singleDigits,
  'command-r': singleDigits,
  'gpt-2': gpt2,
  olmo: gpt2,
  exaone4: gpt2,
}
