/** Entry of the thread of `prompt-encoder.ts`. */
import { parentPort, workerData } from 'node:worker_threads'
import { MeshError } from '../../shared/errors.ts'
import { encodePrompt, type PromptThreadInput, type PromptThreadReport } from './prompt-encoder.ts'
import { loadTokenizer } from './tokenizer.ts'

const encode = ({ folder, prompt, limits }: PromptThreadInput): PromptThreadReport => {
  try {
    return { tokens: Int32Array.from(encodePrompt(loadTokenizer(folder), prompt, limits)) }
  } catch (error) {
    return { failed: MeshError.from(error).toReport() }
  }
}

parentPort?.postMessage(encode(workerData as PromptThreadInput))
