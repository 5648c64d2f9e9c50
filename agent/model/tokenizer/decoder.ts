/** Tokens to text: the decoders of tokenizer.json, as Rust's `tokenizers` runs them. */
import { byteLetters } from './byte-tokens.ts'
import { type Json, shown } from '../json.ts'
import { byType, flag, knownFields, list, text as field } from './component.ts'
import { patternOf } from './patterns.ts'

/** Names of tokens in, pieces of text out. */
export type TokenDecoder = (tokens: readonly string[]) => readonly string[]

const replacement = '�'

const byteOfLetter = new Map(byteLetters.map((letter, byte) => [letter, byte]))

/** Every byte kept, also those of a byte order mark. */
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
const strictUtf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true })

const byteLevel: TokenDecoder = (tokens) => {
  const bytes = tokens.flatMap((token): readonly number[] => {
    const own = Array.from(token, (letter) => byteOfLetter.get(letter))
    return own.every((byte) => byte !== undefined) ? own : [...Buffer.from(token)]
  })
  return [utf8.decode(Uint8Array.from(bytes))]
}

const byteToken = /^<0x([0-9A-Fa-f]{2})>$/

/** Runs of byte tokens become characters; a run that is no text gives one U+FFFD a byte. */
const byteFallback: TokenDecoder = (tokens) => {
  const out: string[] = []
  let run: number[] = []
  const end = (): void => {
    if (run.length === 0) return
    try {
      out.push(strictUtf8.decode(Uint8Array.from(run)))
    } catch {
      out.push(...run.map(() => replacement))
    }
    run = []
  }
  for (const token of tokens) {
    const byte = byteToken.exec(token)
    if (byte) {
      run.push(Number.parseInt(byte[1], 16))
    } else {
      end()
      out.push(token)
    }
  }
  end()
  return out
}

const metaspace = (config: Json): TokenDecoder => {
  knownFields('Metaspace', config, ['replacement', 'str_rep', 'add_prefix_space', 'prepend_scheme', 'split'])
  const mark = field(config, 'replacement', '▁')
  const scheme = field(config, 'prepend_scheme', flag(config, 'add_prefix_space', true) ? 'always' : 'never')
  return (tokens) => tokens.map((token, index) => token.replaceAll(mark, index === 0 && scheme !== 'never' ? '' : ' '))
}

/** @param side letters equal to `content` are taken from it, `count` at most */
const stripped = (letters: readonly string[], content: string, count: number): readonly string[] => {
  let cut = 0
  while (cut < count && letters[cut] === content) cut++
  return letters.slice(cut)
}

const strip = (config: Json): TokenDecoder => {
  knownFields('Strip', config, ['content', 'start', 'stop'])
  const content = field(config, 'content', ' ')
  const [start, stop] = [config.start ?? 0, config.stop ?? 0]
  if (typeof start !== 'number' || typeof stop !== 'number') throw new Error(`Strip: ${shown(config)}`)
  return (tokens) =>
    tokens.map((token) => {
      const begun = stripped([...token], content, start)
      return stripped(begun.toReversed(), content, stop).toReversed().join('')
    })
}

const makers: Readonly<Record<string, (config: Json) => TokenDecoder>> = {
  Sequence: (config) => {
    knownFields('Sequence', config, ['decoders'])
    const steps = list(config, 'decoders').map((step) => byType('decoder', step, makers))
    return (tokens) => steps.reduce((pieces, step) => step(pieces), tokens)
  },
  ByteLevel: (config) => {
    knownFields('ByteLevel', config, ['add_prefix_space', 'trim_offsets', 'use_regex'])
    return byteLevel
  },
  ByteFallback: (config) => {
    knownFields('ByteFallback', config, [])
    return byteFallback
  },
  Fuse: (config) => {
    knownFields('Fuse', config, [])
    return (tokens) => [tokens.join('')]
  },
  Metaspace: metaspace,
  Replace: (config) => {
    knownFields('Replace', config, ['pattern', 'content'])
    const [pattern, content] = [patternOf(config.pattern), field(config, 'content', '')]
    return (tokens) => tokens.map((token) => token.replace(pattern, () => content))
  },
  Strip: strip,
  BPEDecoder: (config) => {
    knownFields('BPEDecoder', config, ['suffix'])
    const suffix = field(config, 'suffix', '</w>')
    return (tokens) => tokens.map((token, index) => token.replaceAll(suffix, index === tokens.length - 1 ? '' : ' '))
  },
}

/** Whole text of token names. @throws Error naming a kind or field that is not supported */
export const createTokenDecoder = (config: unknown): ((tokens: readonly string[]) => string) => {
  if (config === null || config === undefined) return (tokens) => tokens.join(' ')
  const decode = byType('decoder', config, makers)
  return (tokens) => decode(tokens).join('')
}
