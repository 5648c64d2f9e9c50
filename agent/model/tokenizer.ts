/**
 * Text to tokens and back, as the model's own `tokenizer.json`, `tokenizer_config.json` and chat template say. Follows
 * Rust's `tokenizers` and is tested against it; pattern syntax, byte-level cutting and merging come from its JavaScript
 * sibling, which differs from it elsewhere.
 */
import { join } from 'node:path'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Message } from '../../shared/schema/job.ts'
import { readGgufHeader } from './gguf/header.ts'
import { ggufParts, isGguf } from './gguf/name.ts'
import { tokenizerOfGguf } from './gguf/tokenizer.ts'
import { readModelFile, readOptionalFile } from './model-file.ts'
import { tokenizerBytes } from './model-folder.ts'
import { type AddedToken, readAddedTokens, TokenFinder } from './tokenizer/added-tokens.ts'
import { charactersPerToken } from './tokenizer/bound.ts'
import { type ChatTemplate, readChatTemplate, templateOfConfig } from './tokenizer/chat-template.ts'
import { isJson, type Json } from './json.ts'
import { TensorFile } from './tensor-file.ts'
import { knownFields, list } from './tokenizer/component.ts'
import { createVocabulary } from './tokenizer/create-vocabulary.ts'
import { createTokenDecoder } from './tokenizer/decoder.ts'
import { createGuard, type Guard } from './tokenizer/guard.ts'
import { createNormalizer, type Normalizer } from './tokenizer/normalizer.ts'
import { createSurround, type Surround } from './tokenizer/post-processor.ts'
import { createPreTokenizer, type PreTokenizer } from './tokenizer/pre-tokenizer.ts'
import { joinTokens, readSpecialNames, type SpecialNames, surroundOf } from './tokenizer/special-tokens.ts'
import type { Vocabulary } from './tokenizer/vocabulary.ts'

export interface EncodeOptions {
  /** Text that is written like a special token becomes that token. Default: it stays text. */
  readonly special?: boolean
  /** Texts that cannot have fewer tokens than this, by their length alone, are refused. Default: none. */
  readonly mostTokens?: number
}

export interface Tokenizer {
  /**
   * Tokens of a text to be continued, with those that stand around every text (here: the begin token).
   * @throws MeshError `promptTooLong`
   */
  encode(text: string, options?: EncodeOptions): number[]
  /**
   * Tokens of a conversation, up to where the answer begins. Special tokens are those that the template writes.
   * @throws MeshError `chatTemplateMissing` | `modelConfigInvalid` | `promptTooLong`
   */
  encodeChat(messages: readonly Message[], options?: EncodeOptions): number[]
  /** Characters that a token stands for at most in text without special tokens; Infinity where there is no bound. */
  readonly charactersPerToken: number
  /** Refuses a text of which the length alone says that it has too many tokens. @throws MeshError `promptTooLong` */
  checkLength(text: string, options: EncodeOptions): void
  /** Text of the tokens; special ones and ids without a token are left out. Incomplete characters become U+FFFD. */
  decode(tokens: readonly number[]): string
  /** Tokens that the files of the tokenizer name as the end of a text, or of an answer. */
  readonly endTokenIds: readonly number[]
  /** Name of a token, for people. */
  nameOf(token: number): string | undefined
}

const configBytes = 4 * 2 ** 20

const parse = (file: string, bytes: Buffer): Json => {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'))
    if (!isJson(value)) throw new Error('it is not an object')
    return value
  } catch (error) {
    throw new MeshError('modelConfigInvalid', { file, problem: problemOf(error) }, error)
  }
}

const optional = (folder: string, name: string): Json => {
  const bytes = readOptionalFile(folder, name, configBytes)
  return bytes ? parse(join(folder, name), bytes) : {}
}

/** Finds added tokens before and after normalising. */
interface Finders {
  readonly raw: TokenFinder
  readonly normalized: TokenFinder
  /** Characters that a token stands for at most. */
  readonly charactersPerToken: number
}

const findersOf = (tokens: readonly AddedToken[], { normalize, charactersPerToken: most }: Parts): Finders => ({
  charactersPerToken: most(tokens),
  raw: new TokenFinder(tokens.filter(({ isNormalized }) => !isNormalized).map((token) => [token.content, token])),
  normalized: new TokenFinder(
    tokens
      .filter(({ isNormalized }) => isNormalized)
      .map((token): [string, AddedToken] => [normalize(token.content), token])
      .filter(([written]) => written !== ''),
  ),
})

/** Everything that the files say. */
interface Parts {
  readonly tokens: readonly AddedToken[]
  readonly vocabulary: Vocabulary
  readonly normalize: Normalizer
  readonly preTokenize: PreTokenizer
  readonly decode: (names: readonly string[]) => string
  readonly surround: Surround
  /** Characters that a token stands for at most, where these added tokens are looked for. */
  charactersPerToken(tokens: readonly AddedToken[]): number
}

const rootFields = [
  'version',
  'truncation',
  'padding',
  'added_tokens',
  'normalizer',
  'pre_tokenizer',
  'post_processor',
  'decoder',
  'model',
]

/** @throws Error naming what is not supported */
const readParts = (json: Json, config: Json, special: SpecialNames): Parts => {
  knownFields('tokenizer.json', json, rootFields)
  const added = readAddedTokens(list(json, 'added_tokens'))
  const byName = new Map(added.map(({ content, id }) => [content, id]))
  const ofModel = createVocabulary(
    json.model,
    new Set([...special.names, ...added.filter(({ isSpecial }) => isSpecial).map(({ content }) => content)]),
  )
  const tokens = joinTokens(added, special, ofModel.idOf)
  const idOf = (name: string | undefined): number | undefined =>
    name === undefined ? undefined : (byName.get(name) ?? ofModel.idOf(name))
  return {
    tokens,
    vocabulary: ofModel,
    normalize: createNormalizer(json.normalizer),
    preTokenize: createPreTokenizer(json.pre_tokenizer),
    decode: createTokenDecoder(json.decoder),
    charactersPerToken: (found) =>
      charactersPerToken({ vocabulary: ofModel, normalizer: json.normalizer, preTokenizer: json.pre_tokenizer }, found),
    surround: surroundOf(createSurround(json.post_processor), config, {
      bos: idOf(special.byRole.bos_token),
      eos: idOf(special.byRole.eos_token),
    }),
  }
}

class FolderTokenizer implements Tokenizer {
  readonly endTokenIds: readonly number[]
  readonly charactersPerToken: number
  readonly #parts: Parts
  readonly #template: ChatTemplate | undefined
  readonly #folder: string
  readonly #guard: Guard
  readonly #all: Finders
  /** Without special tokens: they stay text. */
  readonly #ordinary: Finders
  readonly #names: ReadonlyMap<number, string>
  readonly #special: ReadonlySet<number>

  constructor(
    folder: string,
    parts: Parts,
    special: SpecialNames,
    { template, ends = [] }: { readonly template: ChatTemplate | undefined; readonly ends?: readonly number[] },
  ) {
    const { tokens, vocabulary, normalize } = parts
    this.#folder = folder
    this.#parts = parts
    this.#template = template
    const specials = tokens.filter(({ isSpecial }) => isSpecial)
    this.#guard = createGuard(specials)
    this.#all = findersOf(tokens, parts)
    this.#ordinary = findersOf(
      tokens.filter(({ isSpecial }) => !isSpecial),
      parts,
    )
    this.charactersPerToken = this.#ordinary.charactersPerToken
    const names = new Map(vocabulary.names)
    // as Rust has it: what was matched is what comes back, with the space that normalising put in front
    for (const { id, content, isNormalized } of tokens) names.set(id, isNormalized ? normalize(content) : content)
    this.#names = names
    this.#special = new Set(specials.map(({ id }) => id))
    const named = specials.filter(({ content }) => content === special.byRole.eos_token).map(({ id }) => id)
    this.endTokenIds = [...new Set([...named, ...ends])]
  }

  checkLength(text: string, { special = false, mostTokens = Infinity }: EncodeOptions): void {
    const { charactersPerToken: most } = special ? this.#all : this.#ordinary
    const least = Math.floor(text.length / most)
    if (least >= mostTokens) throw new MeshError('promptTooLong', { tokens: `at least ${least}`, context: mostTokens })
  }

  encode(text: string, options: EncodeOptions = {}): number[] {
    const { special = false } = options
    const { before, after } = this.#parts.surround
    this.checkLength(text, options)
    return [...before, ...this.#tokensOf(text.toWellFormed(), special ? this.#all : this.#ordinary), ...after]
  }

  encodeChat(messages: readonly Message[], { special = false, mostTokens }: EncodeOptions = {}): number[] {
    if (!this.#template) throw new MeshError('chatTemplateMissing', { folder: this.#folder })
    const contents = messages.map(({ role, content }) => ({ role, content: content.toWellFormed() }))
    const shown = special
      ? contents
      : contents.map(({ role, content }) => ({ role, content: this.#guard.protect(content) }))
    // the template writes begin and end tokens itself
    const rendered = this.#template.render(shown)
    this.checkLength(rendered, { special: true, mostTokens })
    return this.#tokensOf(rendered, this.#all)
  }

  #tokensOf(text: string, { raw, normalized }: Finders): number[] {
    const { normalize, preTokenize, vocabulary } = this.#parts
    const out: number[] = []
    for (const [index, section] of raw.split(text).entries()) {
      if (typeof section !== 'string') {
        out.push(section.id)
        continue
      }
      for (const [inner, part] of normalized.split(normalize(section)).entries()) {
        if (typeof part !== 'string') {
          out.push(part.id)
          continue
        }
        for (const word of preTokenize(this.#guard.restore(part), index === 0 && inner === 0)) {
          for (const token of vocabulary.encode(word)) out.push(token)
        }
      }
    }
    return out
  }

  decode(tokens: readonly number[]): string {
    const names: string[] = []
    for (const token of tokens) {
      const name = this.#names.get(token)
      if (name !== undefined && !this.#special.has(token)) names.push(name)
    }
    return names.length === 0 ? '' : this.#parts.decode(names)
  }

  nameOf(token: number): string | undefined {
    return this.#names.get(token)
  }
}

/** Of a GGUF file, which carries everything. */
const loadFromGguf = (path: string): Tokenizer => {
  const [file] = ggufParts(path)
  const opened = new TensorFile(file)
  try {
    const { metadata } = readGgufHeader(opened)
    const { tokenizer, config, endTokenIds } = tokenizerOfGguf(metadata)
    const special = readSpecialNames(config, {})
    const template = templateOfConfig(file, config, special.byRole)
    return new FolderTokenizer(path, readParts(tokenizer, config, special), special, { template, ends: endTokenIds })
  } catch (error) {
    if (error instanceof MeshError) throw error
    throw new MeshError('modelConfigInvalid', { file, problem: problemOf(error) }, error)
  } finally {
    opened.close()
  }
}

/**
 * Reads and checks all files of a tokenizer.
 * @param folder of the model, or its GGUF file
 * @throws MeshError `modelFileMissing` | `modelConfigInvalid` naming what is not supported | `ggufInvalid`
 */
export const loadTokenizer = (folder: string): Tokenizer => {
  if (isGguf(folder)) return loadFromGguf(folder)
  const file = join(folder, 'tokenizer.json')
  const json = parse(file, readModelFile(folder, 'tokenizer.json', tokenizerBytes))
  const config = optional(folder, 'tokenizer_config.json')
  const special = readSpecialNames(config, optional(folder, 'special_tokens_map.json'))
  const template = readChatTemplate(folder, config, special.byRole)
  try {
    return new FolderTokenizer(folder, readParts(json, config, special), special, { template })
  } catch (error) {
    throw new MeshError('modelConfigInvalid', { file, problem: problemOf(error) }, error)
  }
}
