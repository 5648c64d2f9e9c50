/** What llama.cpp's converter writes for a tokenizer.json of the kinds that it knows. */
import type { TypedValue } from '../write-gguf.ts'

interface Added {
  readonly id: number
  readonly content: string
  readonly special: boolean
}

export interface TokenizerJson {
  readonly added_tokens: readonly object[]
  readonly model: Readonly<Record<string, unknown>>
}

const byteToken = /^<0x[0-9A-F]{2}>$/

/** @param kind of `tokenizer.ggml.model`; `pre`: how text is cut, of `gpt2` */
export const tokenizerMetadata = (
  { added_tokens, model }: TokenizerJson,
  kind: 'llama' | 'gpt2' | 'gemma4',
  pre?: string,
): Record<string, TypedValue> => {
  const added = new Map((added_tokens as readonly Added[]).map((token) => [token.id, token]))
  const names = new Map(Object.entries(model.vocab as Record<string, number>).map(([name, id]) => [id, name]))
  const merges = (model.merges as readonly (string | [string, string])[]).map((merge) =>
    typeof merge === 'string' ? (merge.split(' ') as [string, string]) : merge,
  )
  const count = Math.max(...names.keys(), ...added.keys()) + 1
  const tokens = Array.from({ length: count }, (_, id) => added.get(id)?.content ?? names.get(id) ?? `[PAD${id}]`)
  const types = tokens.map((text, id) => {
    const token = added.get(id)
    if (token) return text === '<unk>' ? 2 : token.special ? 3 : 4
    if (!names.has(id)) return 5
    return kind !== 'gpt2' && byteToken.test(text) ? 6 : 1
  })
  const rank = new Map<string, number>()
  for (const [at, [left, right]] of merges.entries()) if (!rank.has(left + right)) rank.set(left + right, at)
  // single letters come behind all that is merged, as SentencePiece numbers them
  const scores = tokens.map((text, id) => (types[id] === 1 ? -(rank.get(text) ?? merges.length + id) : 0))
  return {
    'tokenizer.ggml.model': { type: 'string', value: kind },
    ...(pre === undefined ? {} : { 'tokenizer.ggml.pre': { type: 'string', value: pre } }),
    'tokenizer.ggml.tokens': { type: 'string', values: tokens },
    'tokenizer.ggml.token_type': { type: 'i32', values: types },
    ...(kind === 'llama'
      ? { 'tokenizer.ggml.scores': { type: 'f32', values: scores } }
      : { 'tokenizer.ggml.merges': { type: 'string', values: merges.map((pair) => pair.join(' ')) } }),
  }
}
