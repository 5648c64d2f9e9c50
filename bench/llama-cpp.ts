/** llama.cpp in one process beside the ring, on a GGUF file: `llama-cpp-process.ts`, started, asked, stopped. */
import { fileURLToPath } from 'node:url'
import type { LlamaCppBatch, LlamaCppOrder, LlamaCppRun, LlamaCppStart } from './llama-cpp-orders.ts'
import { answerOf, forkRank, stopRank } from './rank-process.ts'

export interface LlamaCpp {
  prompt(promptTokens: number, tokens: number): Promise<LlamaCppRun>
  /** @returns tokens per second of all sequences together */
  batch(sequences: number, promptTokens: number, tokens: number): Promise<number>
  residentBytes(): Promise<number>
  stop(): Promise<void>
}

const program = fileURLToPath(new URL('./llama-cpp-process.ts', import.meta.url))

/** @throws Error with the last words of llama.cpp */
export const startLlamaCpp = async (start: LlamaCppStart): Promise<LlamaCpp> => {
  const child = forkRank(program, start)
  const ask = <T>(order: LlamaCppOrder, answer: string): Promise<T> => {
    const answered = answerOf<T>(child, answer)
    child.send(order)
    return answered
  }
  const stop = (): Promise<void> => stopRank(child)
  try {
    await answerOf(child, 'ready')
  } catch (error) {
    await stop()
    throw error
  }
  return {
    prompt: (promptTokens, tokens) => ask<LlamaCppRun>({ type: 'prompt', promptTokens, tokens }, 'prompted'),
    batch: async (sequences, promptTokens, tokens) => {
      const order = { type: 'batch', sequences, promptTokens, tokens } as const
      const { decodeMs } = await ask<LlamaCppBatch>(order, 'batched')
      return (sequences * tokens * 1000) / decodeMs
    },
    residentBytes: async () => (await ask<{ residentBytes: number }>({ type: 'measure' }, 'measured')).residentBytes,
    stop,
  }
}
