/**
 * Child process around `libllama` (llama.cpp itself) of `@node-llama-cpp/<platform>`: reads requests as lines of JSON
 * {file, tokens, context}, answers with lines of JSON {logits} (base64 of f32 [tokens, vocab]) or {problem}.
 */
import { createInterface } from 'node:readline'
import { type Llama, openLlama } from '../../../engine/ggml/libllama.ts'

interface Request {
  readonly file: string
  readonly tokens: readonly number[]
  readonly context: number
}

const logitsOf = (llama: Llama, { file, tokens, context }: Request): Buffer => {
  const model = llama.load(file, { use_extra_bufts: false })
  try {
    const session = model.context(1, {
      n_ctx: context,
      n_batch: tokens.length,
      n_ubatch: tokens.length,
      // softmax in f32, and caches too
      flash_attn_type: 0,
      type_k: 0,
      type_v: 0,
    })
    try {
      const values = session.decode({ tokens, positions: tokens.map((_, index) => index), wanted: () => true })
      return Buffer.from(Uint8Array.from(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)))
    } finally {
      session.close()
    }
  } finally {
    model.close()
  }
}

const answer = (llama: Llama, request: Request): object => {
  try {
    return { logits: logitsOf(llama, request).toString('base64') }
  } catch (error) {
    return { problem: (error as Error).message }
  }
}

const llama = openLlama()
for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(answer(llama, JSON.parse(line) as Request))}\n`)
