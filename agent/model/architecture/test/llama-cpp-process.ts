/**
 * Child process around `libllama` (llama.cpp itself) of `@node-llama-cpp/<platform>`: reads requests as lines of JSON
 * and answers each with a line of JSON, {problem} where it fails:
 *
 * | request | answer |
 * | --- | --- |
 * | {file, tokens, context, step} | {logits}: base64 of f32 [tokens, vocab]; `step` tokens at once |
 * | {file, tokens, context, greedy, end} | {tokens}: up to `greedy` of them, until `end`; one by one behind the prompt |
 * | {file, texts} | {ids}: the tokens of each, from the vocabulary alone |
 * | {file, into, type} | {}: the file quantised by llama.cpp itself, `type` is a `llama_ftype` |
 *
 * A model stays loaded until another file is asked for.
 */
import { statSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { type LlamaModel, openLlama } from '../../../engine/ggml/libllama.ts'

interface Read {
  readonly file: string
  readonly tokens: readonly number[]
  readonly context: number
  /** Kernels that want weights in another order in memory, as the programs of llama.cpp use them. */
  readonly repacked: boolean
  /** Keys and values in f16, as its programs keep them; else f32. */
  readonly halfCache: boolean
}
type Request =
  | (Read & { readonly step: number })
  | (Read & { readonly greedy: number; readonly end: number })
  | { readonly file: string; readonly into: string; readonly type: number }
  | { readonly file: string; readonly texts: readonly string[] }

const llama = openLlama()
let loaded: { readonly key: string; readonly model: LlamaModel } | undefined

const load = (file: string, repacked: boolean): LlamaModel => {
  const key = `${file} ${repacked} ${statSync(file).mtimeMs}`
  if (loaded?.key === key) return loaded.model
  loaded?.model.close()
  loaded = undefined
  loaded = { key, model: llama.load(file, { use_extra_bufts: repacked }) }
  return loaded.model
}

/** Reads some more tokens. @returns logits of all of them, or of the last one; theirs until the next call */
type Run = (tokens: readonly number[], all: boolean) => Float32Array

/** One sequence from its start on. */
const inContext = <Result>(
  { file, context, repacked, halfCache }: Read,
  batch: number,
  use: (run: Run) => Result,
): Result => {
  const session = load(file, repacked).context(1, {
    n_ctx: context,
    n_batch: batch,
    n_ubatch: batch,
    // softmax in f32
    flash_attn_type: 0,
    type_k: halfCache ? 1 : 0,
    type_v: halfCache ? 1 : 0,
  })
  let position = 0
  try {
    return use((tokens, all) => {
      const positions = tokens.map((_, index) => position + index)
      position += tokens.length
      return session.decode({ tokens, positions, wanted: (index) => all || index === tokens.length - 1 })
    })
  } finally {
    session.close()
  }
}

const argmax = (values: Float32Array): number =>
  values.reduce((best, value, index) => (value > values[best] ? index : best), 0)

const answer = (request: Request): object => {
  if ('into' in request) {
    llama.quantize(request.file, request.into, request.type)
    return {}
  }
  if ('texts' in request) {
    const model = llama.load(request.file, { vocab_only: true })
    const ids = request.texts.map((text) => model.tokenize(text))
    model.close()
    return { ids }
  }
  const { tokens } = request
  if ('greedy' in request)
    return inContext(request, tokens.length, (run) => {
      const drawn = [argmax(run(tokens, false))]
      while (drawn.length < request.greedy && drawn.at(-1) !== request.end)
        drawn.push(argmax(run(drawn.slice(-1), false)))
      return { tokens: drawn }
    })
  return inContext(request, request.step, (run) => {
    const steps = Array.from({ length: Math.ceil(tokens.length / request.step) }, (_, index) =>
      Buffer.from(run(tokens.slice(index * request.step, (index + 1) * request.step), true).slice().buffer),
    )
    return { logits: Buffer.concat(steps).toString('base64') }
  })
}

const answered = (request: Request): object => {
  try {
    return answer(request)
  } catch (error) {
    return { problem: (error as Error).message }
  }
}

for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(answered(JSON.parse(line) as Request))}\n`)
