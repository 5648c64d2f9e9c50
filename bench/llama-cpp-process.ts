/**
 * llama.cpp itself in a process of its own: its library, called as its own benchmarks call it. `llama_decode` in a
 * loop, one pool of threads for all graphs, the best token of each row looked up in place.
 */
import { type LlamaContext, type LlamaModel, openLlama } from '../agent/engine/ggml/libllama.ts'
import { promptOf } from './batch.ts'
import type { LlamaCppBatch, LlamaCppOrder, LlamaCppRun, LlamaCppStart } from './llama-cpp-orders.ts'
import { residentBytes } from './process-figures.ts'

const say = (message: object): void => void process.send?.(message)

/** Index of the largest value of each row. */
const bestOf = (logits: Float32Array, vocab: number): number[] =>
  Array.from({ length: logits.length / vocab }, (_, row) => {
    let best = row * vocab
    for (let i = best + 1; i < (row + 1) * vocab; i++) if (logits[i] > logits[best]) best = i
    return best - row * vocab
  })

/** Tokens that one call takes: `n_batch`, of which the kernels see 512 at once. */
const tokensAtOnce = 2048

/** @returns the first token behind the prompt */
const read = (context: LlamaContext, prompt: readonly number[], vocab: number): number => {
  let best = 0
  for (let start = 0; start < prompt.length; start += tokensAtOnce) {
    const tokens = prompt.slice(start, start + tokensAtOnce)
    const last = start + tokens.length === prompt.length ? tokens.length - 1 : -1
    const logits = context.decode({
      tokens,
      positions: tokens.map((_, index) => start + index),
      wanted: (index) => index === last,
    })
    if (last >= 0) [best] = bestOf(logits, vocab)
  }
  return best
}

const runPrompt = (
  context: LlamaContext,
  vocab: number,
  { promptTokens, tokens }: { readonly promptTokens: number; readonly tokens: number },
): LlamaCppRun => {
  context.clear()
  const prompt = promptOf(promptTokens, vocab)
  const started = performance.now()
  let token = read(context, prompt, vocab)
  const first = performance.now()
  for (let position = promptTokens; position < promptTokens + tokens - 1; position++)
    [token] = bestOf(context.decode({ tokens: [token], positions: [position], wanted: () => true }), vocab)
  return {
    prefillTokensPerSecond: (promptTokens / (first - started)) * 1000,
    decodeTokensPerSecond: ((tokens - 1) / (performance.now() - first)) * 1000,
  }
}

const runBatch = (
  context: LlamaContext,
  vocab: number,
  { sequences: count, promptTokens, tokens }: Extract<LlamaCppOrder, { type: 'batch' }>,
): LlamaCppBatch => {
  context.clear()
  const prompt = promptOf(promptTokens, vocab)
  const sequences = Array.from({ length: count }, (_, index) => index)
  for (const sequence of sequences)
    context.decode({
      tokens: prompt,
      positions: prompt.map((_, index) => index),
      sequences: prompt.map(() => sequence),
      wanted: () => false,
    })
  let next = sequences.map((index) => index % vocab)
  const started = performance.now()
  for (let position = promptTokens; position < promptTokens + tokens; position++)
    next = bestOf(
      context.decode({ tokens: next, positions: next.map(() => position), sequences, wanted: () => true }),
      vocab,
    )
  return { decodeMs: performance.now() - started }
}

/** A context for each number of sequences, made when it is wanted and kept: its memory is warm from then on. */
const contextsOf = (model: LlamaModel, threads: number) => {
  const kept = new Map<number, LlamaContext>()
  return (sequences: number, length: number): LlamaContext => {
    const found =
      kept.get(sequences) ?? model.context(threads, { n_ctx: sequences * (length + 64), n_seq_max: sequences })
    kept.set(sequences, found)
    return found
  }
}

/** Until threads of a pool sleep that look for the next graph: they would take the cores of the ring. */
const restMs = 300

const serve = ({ file, threads, context: longest }: LlamaCppStart): ((order: LlamaCppOrder) => void) => {
  const model = openLlama().load(file)
  const contextFor = contextsOf(model, threads)
  return (order) => {
    const sayRested = (message: object): void => void setTimeout(() => say(message), restMs)
    if (order.type === 'prompt')
      sayRested({ type: 'prompted', ...runPrompt(contextFor(1, longest), model.vocab, order) })
    else if (order.type === 'batch') {
      const context = contextFor(order.sequences, Math.max(longest, order.promptTokens + order.tokens))
      sayRested({ type: 'batched', ...runBatch(context, model.vocab, order) })
    } else if (order.type === 'measure') say({ type: 'measured', residentBytes: residentBytes() })
    else process.disconnect()
  }
}

process.once('message', (start: LlamaCppStart) => {
  try {
    const obey = serve(start)
    process.on('message', (order: LlamaCppOrder) => {
      try {
        obey(order)
      } catch (error) {
        say({ type: 'failed', problem: (error as Error).message })
      }
    })
    say({ type: 'ready' })
  } catch (error) {
    say({ type: 'failed', problem: (error as Error).message })
    process.disconnect()
  }
})
