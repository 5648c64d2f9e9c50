/** Text to tokens and back, as the model's own `tokenizer.json` and chat template say. */
import { join } from 'node:path'
import { Template } from '@huggingface/jinja'
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Message } from '../../shared/schema/job.ts'
import { readModelFile } from './model-file.ts'
import { tokenizerBytes } from './model-folder.ts'

export interface Tokenizer {
  /** Tokens of a text to be continued; the post-processor adds special tokens (here: the begin token). */
  encode(text: string): number[]
  /** Tokens of a conversation, up to where the answer begins. @throws MeshError `chatTemplateMissing` */
  encodeChat(messages: readonly Message[]): number[]
  /** Text of the tokens; special ones are left out. Incomplete characters become U+FFFD. */
  decode(tokens: readonly number[]): string
}

const configBytes = 4 * 2 ** 20

interface TokenizerConfig {
  readonly chat_template?: unknown
  readonly bos_token?: unknown
  readonly eos_token?: unknown
}

const parse = (folder: string, name: string, limit: number): object => {
  const file = join(folder, name)
  try {
    const value: unknown = JSON.parse(readModelFile(folder, name, limit).toString('utf8'))
    if (typeof value !== 'object' || value === null) throw new Error('it is not an object')
    return value
  } catch (error) {
    if (error instanceof MeshError) throw error
    throw new MeshError('modelConfigInvalid', { file, problem: problemOf(error) }, error)
  }
}

const optional = (folder: string, name: string): object => {
  try {
    return parse(folder, name, configBytes)
  } catch (error) {
    if (error instanceof MeshError && error.code === 'modelFileMissing') return {}
    throw error
  }
}

/** A special token is given as text, or as an object that holds it. */
const tokenText = (token: unknown): string =>
  typeof token === 'string' ? token : typeof token === 'object' && token !== null && 'content' in token ? String(token.content) : ''

/** @throws MeshError `modelFileMissing` | `modelConfigInvalid` */
export const loadTokenizer = (folder: string): Tokenizer => {
  const json = parse(folder, 'tokenizer.json', tokenizerBytes)
  const config: TokenizerConfig = optional(folder, 'tokenizer_config.json')
  let tokenizer: HuggingFaceTokenizer
  try {
    tokenizer = new HuggingFaceTokenizer(json, config)
  } catch (error) {
    throw new MeshError('modelConfigInvalid', { file: join(folder, 'tokenizer.json'), problem: problemOf(error) }, error)
  }
  return {
    encode: (text) => [...tokenizer.encode(text).ids],
    encodeChat: (messages) => {
      if (typeof config.chat_template !== 'string') throw new MeshError('chatTemplateMissing', { folder })
      const values = { messages, add_generation_prompt: true, bos_token: tokenText(config.bos_token), eos_token: tokenText(config.eos_token) }
      try {
        // The template writes the special tokens itself.
        return [...tokenizer.encode(new Template(config.chat_template).render(values), { add_special_tokens: false }).ids]
      } catch (error) {
        throw new MeshError('modelConfigInvalid', { file: join(folder, 'tokenizer_config.json'), problem: `the chat template fails: ${problemOf(error)}` }, error)
      }
    },
    decode: (tokens) => (tokens.length === 0 ? '' : tokenizer.decode([...tokens], { skip_special_tokens: true, clean_up_tokenization_spaces: false })),
  }
}
