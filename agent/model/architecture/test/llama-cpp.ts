/** llama.cpp itself as a reference: logits of a GGUF file, from a child process. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export interface LlamaCpp {
  /** Logits of all positions, f32 [tokens.length][vocab]. @param context room for positions: decides about longrope */
  logits(file: string, tokens: readonly number[], context?: number): Promise<Float32Array[]>
  close(): Promise<void>
}

export const startLlamaCpp = (): LlamaCpp => {
  const script = fileURLToPath(new URL('llama-cpp-process.ts', import.meta.url))
  const child = spawn(process.execPath, [script], { stdio: ['pipe', 'pipe', 'pipe'] })
  const errors: string[] = []
  child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text))
  child.stdin.on('error', () => {})
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
  })
  return {
    logits: async (file, tokens, context = 512) => {
      child.stdin.write(`${JSON.stringify({ file, tokens, context })}\n`)
      const { value, done } = await answers.next()
      if (done) throw new Error(`llama.cpp ended: ${errors.join('').slice(-2000)}`)
      const { logits, problem } = JSON.parse(value) as { logits?: string; problem?: string }
      if (logits === undefined) throw new Error(`llama.cpp: ${problem}`)
      const bytes = Buffer.from(logits, 'base64')
      const all = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
      const vocab = all.length / tokens.length
      return tokens.map((_, position) => all.slice(position * vocab, (position + 1) * vocab))
    },
    close: async () => {
      child.stdin.end()
      await ended
    },
  }
}
