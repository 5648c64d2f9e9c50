/** A made-up tokenizer for GGUF files of random weights. */
import type { TypedValue } from './write-gguf.ts'

/** The metadata of a vocabulary that llama.cpp loads: control tokens, bytes, and made-up words. */
export const byteVocabulary = (vocab: number): Readonly<Record<string, TypedValue>> => {
  const kinds = Array.from({ length: vocab }, (_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1))
  const nameOf = (id: number): string => {
    if (id < 3) return ['<unk>', '<s>', '</s>'][id]
    return id < 259 ? `<0x${(id - 3).toString(16).toUpperCase().padStart(2, '0')}>` : `word${id}`
  }
  return {
    'tokenizer.ggml.model': { type: 'string', value: 'llama' },
    'tokenizer.ggml.tokens': { type: 'string', values: kinds.map((_, id) => nameOf(id)) },
    'tokenizer.ggml.scores': { type: 'f32', values: kinds.map((_, id) => -id) },
    'tokenizer.ggml.token_type': { type: 'i32', values: kinds },
    'tokenizer.ggml.bos_token_id': { type: 'u32', value: 1 },
    'tokenizer.ggml.eos_token_id': { type: 'u32', value: 2 },
  }
}
