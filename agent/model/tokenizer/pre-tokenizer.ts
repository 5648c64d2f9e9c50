/** How text is cut into words before tokens are looked up: the pre-tokenizers of tokenizer.json. */
import { byteLetters } from './byte-tokens.ts'
import { type Json, shown } from '../json.ts'
import { byType, flag, knownFields, list, text as field } from './component.ts'
import { type Behaviour, behaviourOf, cut, patternOf } from './patterns.ts'

/** @param isFirst the piece is the beginning of the whole text */
export type PreTokenizer = (piece: string, isFirst: boolean) => readonly string[]

const word = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}'

const cutter =
  (pattern: RegExp, behaviour: Behaviour, invert = false): PreTokenizer =>
  (piece) =>
    cut(piece, pattern, behaviour, invert)

const prefixSchemes = ['always', 'first', 'never']

const metaspace = (config: Json): PreTokenizer => {
  knownFields('Metaspace', config, ['replacement', 'str_rep', 'add_prefix_space', 'prepend_scheme', 'split'])
  const replacement = field(config, 'replacement', '▁')
  // files before the scheme was named have only the flag
  const scheme = field(config, 'prepend_scheme', flag(config, 'add_prefix_space', true) ? 'always' : 'never')
  if (!prefixSchemes.includes(scheme)) throw new Error(`Metaspace: prepend_scheme is ${shown(scheme)}`)
  const isSplit = flag(config, 'split', true)
  const pattern = new RegExp(RegExp.escape(replacement), 'gu')
  return (piece, isFirst) => {
    const marked = piece.replaceAll(' ', replacement)
    const isPrefixed = scheme === 'always' || (scheme === 'first' && isFirst)
    const whole = isPrefixed && !marked.startsWith(replacement) ? replacement + marked : marked
    return isSplit ? cut(whole, pattern, 'MergedWithNext') : [whole]
  }
}

/** How GPT-2 cuts; written for Rust, whose white space is not quite that of JavaScript. */
const words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

const byteLevel = (config: Json): PreTokenizer => {
  knownFields('ByteLevel', config, ['add_prefix_space', 'trim_offsets', 'use_regex'])
  const isPrefixed = flag(config, 'add_prefix_space', true)
  const pattern = flag(config, 'use_regex', true) ? patternOf({ Regex: words }) : undefined
  return (piece) => {
    const whole = isPrefixed && !piece.startsWith(' ') ? ` ${piece}` : piece
    const pieces = pattern ? cut(whole, pattern, 'Isolated') : [whole]
    return pieces.map((one) => Array.from(Buffer.from(one), (byte) => byteLetters[byte]).join(''))
  }
}

const sequence = (config: Json): PreTokenizer => {
  knownFields('Sequence', config, ['pretokenizers'])
  const steps = list(config, 'pretokenizers').map(createPreTokenizer)
  return (piece, isFirst) =>
    steps.reduce<readonly string[]>(
      (pieces, step) => pieces.flatMap((one, index) => step(one, isFirst && index === 0)),
      [piece],
    )
}

const makers: Readonly<Record<string, (config: Json) => PreTokenizer>> = {
  Sequence: sequence,
  ByteLevel: byteLevel,
  Metaspace: metaspace,
  Split: (config) => {
    knownFields('Split', config, ['pattern', 'behavior', 'invert'])
    return cutter(patternOf(config.pattern), behaviourOf(config), flag(config, 'invert', false))
  },
  Digits: (config) => {
    knownFields('Digits', config, ['individual_digits'])
    return cutter(/\p{N}/gu, flag(config, 'individual_digits', false) ? 'Isolated' : 'Contiguous')
  },
  Punctuation: (config) => {
    knownFields('Punctuation', config, ['behavior'])
    return cutter(/[\p{P}!-/:-@[-`{-~]/gu, behaviourOf(config, 'Isolated'))
  },
  Whitespace: (config) => {
    knownFields('Whitespace', config, [])
    return cutter(new RegExp(`[${word}]+|[^${word}\\p{White_Space}]+`, 'gu'), 'Removed', true)
  },
  WhitespaceSplit: (config) => {
    knownFields('WhitespaceSplit', config, [])
    return cutter(/\p{White_Space}/gu, 'Removed')
  },
}

/** @throws Error naming a kind or field that is not supported */
export function createPreTokenizer(config: unknown): PreTokenizer {
  if (config === null || config === undefined) return (piece) => [piece]
  return byType('pre_tokenizer', config, makers)
}
