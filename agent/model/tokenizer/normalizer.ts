/** What happens to text before it is cut: the normalizers of tokenizer.json. */
import { type Json } from '../json.ts'
import { byType, flag, knownFields, list, text as field } from './component.ts'
import { patternOf } from './patterns.ts'
import { createPrecompiled } from './precompiled.ts'
import { spaceAfter, spaceBefore } from './white-space.ts'

export type Normalizer = (text: string) => string

const unicode =
  (form: 'NFC' | 'NFD' | 'NFKC' | 'NFKD') =>
  (config: Json): Normalizer => {
    knownFields(form, config, [])
    return (text) => text.normalize(form)
  }

const strip = (config: Json): Normalizer => {
  knownFields('Strip', config, ['strip_left', 'strip_right'])
  const [left, right] = [flag(config, 'strip_left', true), flag(config, 'strip_right', true)]
  return (text) => {
    const start = left ? spaceAfter(text, 0) : 0
    return text.slice(start, right ? Math.max(start, spaceBefore(text, text.length)) : undefined)
  }
}

const replace = (config: Json): Normalizer => {
  knownFields('Replace', config, ['pattern', 'content'])
  const [pattern, content] = [patternOf(config.pattern), field(config, 'content', '')]
  return (text) => text.replace(pattern, () => content)
}

const prepend = (config: Json): Normalizer => {
  knownFields('Prepend', config, ['prepend'])
  const start = field(config, 'prepend', '')
  return (text) => (text === '' ? text : start + text)
}

const makers: Readonly<Record<string, (config: Json) => Normalizer>> = {
  Sequence: (config) => {
    knownFields('Sequence', config, ['normalizers'])
    const steps = list(config, 'normalizers').map(createNormalizer)
    return (text) => steps.reduce((whole, step) => step(whole), text)
  },
  Prepend: prepend,
  Replace: replace,
  NFC: unicode('NFC'),
  NFD: unicode('NFD'),
  NFKC: unicode('NFKC'),
  NFKD: unicode('NFKD'),
  // letter by letter: JavaScript would look at the neighbours of a final sigma, Rust does not
  Lowercase: () => (text) => Array.from(text, (letter) => letter.toLowerCase()).join(''),
  Precompiled: (config) => {
    knownFields('Precompiled', config, ['precompiled_charsmap'])
    return createPrecompiled(field(config, 'precompiled_charsmap', ''))
  },
  Strip: strip,
  StripAccents: () => (text) => text.replace(/\p{M}/gu, ''),
}

/** @throws Error naming a kind or field that is not supported */
export function createNormalizer(config: unknown): Normalizer {
  if (config === null || config === undefined) return (text) => text
  return byType('normalizer', config, makers)
}
