/**
 * llama.cpp in one process on the same shape and type of weights, through npm's `node-llama-cpp`, installed on demand
 * into a temporary folder. It runs in a process of its own; this file is its parent and, with `--child`, that process.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ModelShape } from '../shared/schema/model.ts'
import { writeRandomGguf } from './random-gguf.ts'

const version = '3.22.1'

export interface LlamaCppRun {
  readonly prefillTokensPerSecond: number
  readonly decodeTokensPerSecond: number
}

export interface LlamaCpp {
  run(threads: number, promptTokens: number, tokens: number): LlamaCppRun
  stop(): void
}

/** Runs inside the temporary folder, where the package is installed. */
const script = `
import { getLlama, LlamaLogLevel } from 'node-llama-cpp'
const [file, threads, promptTokens, tokens] = [process.argv[2], ...process.argv.slice(3).map(Number)]
const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: threads })
const model = await llama.loadModel({ modelPath: file })
const context = await model.createContext({ contextSize: promptTokens + tokens + 64, threads: { ideal: threads, min: threads }, batchSize: 512 })
const sequence = context.getSequence()
const once = async () => {
  await sequence.clearHistory()
  const prompt = Array.from({ length: promptTokens }, (_, i) => 300 + ((i * 131) % 30000))
  const start = performance.now()
  let first, count = 0
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    first ??= performance.now()
    if (++count === tokens) break
  }
  return { prefillTokensPerSecond: promptTokens / (first - start) * 1000, decodeTokensPerSecond: (count - 1) / (performance.now() - first) * 1000 }
}
await once()
process.stdout.write(JSON.stringify(await once()))
process.exit(0)
`

export const installLlamaCpp = (shape: ModelShape): LlamaCpp => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-bench-llama-'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module","private":true}')
  writeFileSync(join(folder, 'run.mjs'), script)
  execFileSync(
    'npm',
    ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--omit=optional', `node-llama-cpp@${version}`],
    { cwd: folder, stdio: 'ignore' },
  )
  execFileSync(
    'npm',
    ['install', '--no-audit', '--no-fund', '--ignore-scripts', `@node-llama-cpp/linux-x64@${version}`],
    { cwd: folder, stdio: 'ignore' },
  )
  const file = join(folder, 'model.gguf')
  writeRandomGguf(file, shape)
  return {
    run: (threads, promptTokens, tokens) =>
      JSON.parse(
        execFileSync(process.execPath, ['run.mjs', file, String(threads), String(promptTokens), String(tokens)], {
          cwd: folder,
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        }),
      ) as LlamaCppRun,
    stop: () => rmSync(folder, { recursive: true, force: true }),
  }
}
