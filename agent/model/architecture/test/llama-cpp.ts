/** llama.cpp itself as a reference: logits of a GGUF file, from a child process. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** How llama.cpp is to compute. */
export interface LlamaCppWay {
  /** Room for positions; decides about longrope. Default: 512 */
  readonly context?: number
  /** Tokens of a batch. Default: all */
  readonly step?: number
  /** With kernels that order weights anew in memory, as its programs do. Default: no */
  readonly repacked?: boolean
  /** Keys and values in f16, as its programs keep them. Default: f32 */
  readonly halfCache?: boolean
}

export interface LlamaCpp {
  /** Logits of all positions, f32 [tokens.length][vocab]. */
  logits(file: string, tokens: readonly number[], way?: LlamaCppWay): Promise<Float32Array[]>
  /** Up to `count` tokens that follow, each the likeliest, until `end` came. */
  greedy(file: string, prompt: readonly number[], count: number, end: number): Promise<number[]>
  /** Tokens of each text by the vocabulary of a file: nothing is added, and nothing is special. */
  tokenize(file: string, texts: readonly string[]): Promise<number[][]>
  /** Quantises a file by llama.cpp's own rules. @param type a `llama_ftype` */
  quantize(file: string, into: string, type: number): Promise<void>
  close(): Promise<void>
}

const plain = { repacked: false, halfCache: false }

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
  const ask = async <Answer extends object>(request: object): Promise<Answer> => {
    child.stdin.write(`${JSON.stringify(request)}\n`)
    const { value, done } = await answers.next()
    if (done) throw new Error(`llama.cpp ended: ${errors.join('').slice(-2000)}`)
    const answer = JSON.parse(value) as Answer & { readonly problem?: string }
    if (answer.problem !== undefined) throw new Error(`llama.cpp: ${answer.problem}`)
    return answer
  }
  return {
    logits: async (file, tokens, { context = 512, step = tokens.length, repacked = false, halfCache = false } = {}) => {
      const { logits } = await ask<{ logits: string }>({
        file,
        tokens,
        context,
        step,
        repacked,
        halfCache,
      })
      const bytes = Buffer.from(logits, 'base64')
      const all = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
      const vocab = all.length / tokens.length
      return tokens.map((_, position) => all.slice(position * vocab, (position + 1) * vocab))
    },
    greedy: async (file, prompt, count, end) =>
      (await ask<{ tokens: number[] }>({ file, tokens: prompt, context: 512, ...plain, greedy: count, end })).tokens,
    tokenize: async (file, texts) => (await ask<{ ids: number[][] }>({ file, texts })).ids,
    quantize: async (file, into, type) => {
      await ask({ file, into, type })
    },
    close: async () => {
      child.stdin.end()
      await ended
    },
  }
}
