/**
 * The tokenizer that a GGUF file carries, as the files that Hugging Face would have for it: SentencePiece by scores
 * (`llama`), byte-level BPE (`gpt2`) and BPE on text whose spaces are U+2581 (`gemma4`).
 */
import type { Json } from '../json.ts'
import { shown } from '../json.ts'
import type { GgufMetadata } from './metadata.ts'
import { ggufPreTokenizers } from './pre-tokenizers.ts'

export interface TokenizerFiles {
  /** Of tokenizer.json. */
  readonly tokenizer: Json
  /** Of tokenizer_config.json: special tokens by role, whether texts begin and end with one, the chat template. */
  readonly config: Json
  /** Tokens that end an answer. */
  readonly endTokenIds: readonly number[]
}

/** `tokenizer.ggml.token_type` */
const kinds = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

interface Token {
  readonly id: number
  readonly text: string
  readonly kind: number
  readonly score: number
}

/** Names by which llama.cpp knows tokens that end an answer where a file names none of their kind. */
const turnEnds = new Set([
  '<|eot_id|>',
  '<|im_end|>',
  '<|end|>',
  '<|return|>',
  '<|call|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<|eom_id|>',
  '<|end_of_text|>',
  '<eos>',
  '<turn|>',
  '<｜end▁of▁sentence｜>',
  '[e~[',
  '[EOT]',
  '[EOS]',
])

/** @throws Error naming the key that is missing or of another length */
const readTokens = (metadata: GgufMetadata): Token[] => {
  const names = metadata.texts('tokenizer.ggml.tokens')
  if (names === undefined || names.length === 0) throw new Error('it has no tokenizer.ggml.tokens')
  const [types, scores] = ['token_type', 'scores'].map((key) => {
    const values = metadata.numbers(`tokenizer.ggml.${key}`)
    if (values !== undefined && values.length < names.length)
      throw new Error(`tokenizer.ggml.${key} has ${values.length} values for ${names.length} tokens`)
    return values
  })
  const known = new Set<string>()
  return names.flatMap((text, id) => {
    const kind = types?.[id] ?? kinds.normal
    // padding of the vocabulary: no text becomes it, and it is no text
    if (text === '' || kind === kinds.unused) return []
    if (known.has(text)) throw new Error(`the token ${shown(text)} is there twice`)
    known.add(text)
    return [{ id, text, kind, score: scores?.[id] ?? 0 }]
  })
}

const isAdded = ({ kind }: Token): boolean => kind === kinds.control || kind === kinds.userDefined

/** Tokens that stand in text as they are written; control tokens only where a template writes them. */
const addedTokens = (tokens: readonly Token[], isSpaced: boolean): Json[] =>
  tokens
    .filter((token) => isAdded(token) || token.kind === kinds.unknown)
    .map(({ id, text, kind }) => ({
      id,
      // llama.cpp's converter has put plain spaces there already in newer files
      content: isSpaced && kind === kinds.userDefined ? text.replaceAll('▁', ' ') : text,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: kind !== kinds.userDefined,
    }))

const vocabularyOf = (tokens: readonly Token[]): Json =>
  Object.fromEntries(tokens.filter((token) => !isAdded(token)).map(({ id, text }) => [text, id]))

/**
 * @param tokens in whose order merges are where the file has none
 * Pairs, one a line: the space between them is the first one that is not the beginning of the left part. */
const readMerges = (metadata: GgufMetadata, tokens: readonly Token[] = []): [string, string][] => {
  const lines = metadata.texts('tokenizer.ggml.merges')
  if (lines === undefined && tokens.length > 0) return mergesByScore(tokens.map((one) => ({ ...one, score: -one.id })))
  if (lines === undefined) throw new Error('it has no tokenizer.ggml.merges')
  return lines.map((line): [string, string] => {
    const at = line.indexOf(' ', 1)
    if (at < 0) throw new Error(`the merge ${shown(line)} is no pair`)
    return [line.slice(0, at), line.slice(at + 1)]
  })
}

/**
 * SentencePiece joins the neighbours whose joined token has the highest score: every way to cut a token into two tokens
 * is a merge, in the order of the scores.
 */
const mergesByScore = (tokens: readonly Token[]): [string, string][] => {
  const ids = new Map(tokens.filter(({ kind }) => kind === kinds.normal).map(({ text, id }) => [text, id]))
  return tokens
    .filter(({ kind }) => kind === kinds.normal)
    .toSorted((a, b) => b.score - a.score || a.id - b.id)
    .flatMap(({ text }) => {
      const pairs: [string, string][] = []
      for (let at = 1; at < text.length; at++) {
        const pair: [string, string] = [text.slice(0, at), text.slice(at)]
        if (pair.every((part) => ids.has(part))) pairs.push(pair)
      }
      return pairs.toSorted(
        (a, b) =>
          (ids.get(a[0]) as number) - (ids.get(b[0]) as number) ||
          (ids.get(a[1]) as number) - (ids.get(b[1]) as number),
      )
    })
}

const bpe = (tokens: readonly Token[], merges: readonly (readonly [string, string])[], options: Json): Json => ({
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  ignore_merges: false,
  vocab: vocabularyOf(tokens),
  merges,
  ...options,
})

const file = (added: readonly Json[], parts: Json): Json => ({
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: added,
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  ...parts,
})

interface Made {
  readonly tokenizer: Json
  readonly addsBegin: boolean
}

/** @param isPrefixed every text begins with a space */
const spacedFile = (
  tokens: readonly Token[],
  merges: readonly (readonly [string, string])[],
  isPrefixed: boolean,
): Json => {
  const unknown = tokens.find(({ kind }) => kind === kinds.unknown)?.text ?? null
  const mark = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
  const decoders = [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    ...(isPrefixed ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
  ]
  return file(addedTokens(tokens, true), {
    normalizer: { type: 'Sequence', normalizers: [...(isPrefixed ? [{ type: 'Prepend', prepend: '▁' }] : []), mark] },
    decoder: { type: 'Sequence', decoders },
    model: bpe(tokens, merges, { unk_token: unknown, fuse_unk: true, byte_fallback: true }),
  })
}

const sentencePiece = (metadata: GgufMetadata, tokens: readonly Token[]): Made => {
  if (metadata.flag('tokenizer.ggml.remove_extra_whitespaces') === true)
    throw new Error('tokenizer.ggml.remove_extra_whitespaces is true, which is not supported')
  if (metadata.get('tokenizer.ggml.scores') === undefined) throw new Error('it has no tokenizer.ggml.scores')
  const isPrefixed = metadata.flag('tokenizer.ggml.add_space_prefix') ?? true
  return { tokenizer: spacedFile(tokens, mergesByScore(tokens), isPrefixed), addsBegin: true }
}

const byteLevel = (metadata: GgufMetadata, tokens: readonly Token[]): Made => {
  const name = metadata.text('tokenizer.ggml.pre')
  const supported = `supported: ${Object.keys(ggufPreTokenizers).join(', ')}`
  if (name === undefined)
    throw new Error(`it does not say how text is cut (tokenizer.ggml.pre): use a newer file of the model; ${supported}`)
  if (!Object.hasOwn(ggufPreTokenizers, name))
    throw new Error(`tokenizer.ggml.pre is ${shown(name)}, which is not supported; ${supported}`)
  const found = ggufPreTokenizers[name]
  const { steps, ignoresMerges = false, addsBegin = false, mayLackMerges = false, normalizer = null } = found
  return {
    tokenizer: file(addedTokens(tokens, false), {
      normalizer,
      pre_tokenizer: { type: 'Sequence', pretokenizers: steps },
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: bpe(tokens, readMerges(metadata, mayLackMerges ? tokens : []), { ignore_merges: ignoresMerges }),
    }),
    addsBegin,
  }
}

const makers: Readonly<Record<string, (metadata: GgufMetadata, tokens: readonly Token[]) => Made>> = {
  llama: sentencePiece,
  gpt2: byteLevel,
  gemma4: (metadata, tokens) => ({ tokenizer: spacedFile(tokens, readMerges(metadata), false), addsBegin: true }),
}

/** Key of the file by the role that templates know. */
const roles = {
  bos_token: 'bos_token_id',
  eos_token: 'eos_token_id',
  unk_token: 'unknown_token_id',
  pad_token: 'padding_token_id',
} as const

/** Ids that a kind of tokenizer has where the file says nothing. */
const defaultIds: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  llama: { bos_token: 1, eos_token: 2, unk_token: 0 },
}

/** Ends of answers: those that the file names, and tokens of a name that means it. */
const endsOf = (metadata: GgufMetadata, tokens: readonly Token[]): number[] => {
  const named = ['eos_token_id', 'eot_token_id', 'eom_token_id'].flatMap((key) => {
    const id = metadata.count(`tokenizer.ggml.${key}`)
    return id === undefined ? [] : [id]
  })
  const byName = tokens.filter((token) => isAdded(token) && turnEnds.has(token.text))
  const texts = new Set(byName.map(({ text }) => text))
  // harmony ends messages with <|end|>, and answers with the other two
  const isHarmony = texts.has('<|return|>') && texts.has('<|call|>')
  const ids = byName.filter(({ text }) => !(isHarmony && text === '<|end|>')).map(({ id }) => id)
  return [...new Set([...named, ...ids])]
}

/**
 * @throws Error naming what is missing or not supported, as readers of tokenizer.json do | MeshError `ggufInvalid` for
 * a value of another type
 */
export const tokenizerOfGguf = (metadata: GgufMetadata): TokenizerFiles => {
  const model = metadata.text('tokenizer.ggml.model')
  if (model === undefined || !Object.hasOwn(makers, model))
    throw new Error(
      `tokenizer.ggml.model is ${shown(model ?? null)}, which is not supported; supported: ` +
        `${Object.keys(makers).join(', ')}`,
    )
  const tokens = readTokens(metadata)
  const byId = new Map(tokens.map(({ id, text }) => [id, text]))
  const { tokenizer, addsBegin } = makers[model](metadata, tokens)
  const named = Object.entries(roles).map(([role, key]) => {
    const id = metadata.count(`tokenizer.ggml.${key}`) ?? defaultIds[model]?.[role]
    return [role, id === undefined ? undefined : byId.get(id)] as const
  })
  return {
    tokenizer,
    config: {
      ...Object.fromEntries(named.filter(([, text]) => text !== undefined)),
      // files of Gemma 4 say false, and mean the opposite
      add_bos_token: (model === 'gemma4' ? undefined : metadata.flag('tokenizer.ggml.add_bos_token')) ?? addsBegin,
      add_eos_token: metadata.flag('tokenizer.ggml.add_eos_token') ?? false,
      chat_template: metadata.text('tokenizer.chat_template') ?? null,
    },
    endTokenIds: endsOf(metadata, tokens),
  }
}
