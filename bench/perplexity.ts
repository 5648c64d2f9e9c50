/**
 * What each quantisation costs in quality: `node bench/perplexity.ts [--tokens N]`.
 *
 * The bundled model reads its held-out stories (`test/data/held-out-stories.json`) in each form that Mesh makes of the
 * folder (q8, q4), keeps of it (its own F16), and that GGUF files have, written from it in the mixtures of
 * llama-quantize. Perplexity is exp of the mean negative log-likelihood of the next token; told is its ratio over f32.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { inlineBackends } from '../agent/engine/test/inline-backend.ts'
import { type CreateBackend, openRing } from '../agent/engine/test/ring-of-engines.ts'
import { readFolder, writeMixture } from '../agent/model/gguf/test/convert.ts'
import { type MixtureName, mixtures } from '../agent/model/gguf/test/mixtures.ts'
import { openModel } from '../agent/model/model-folder.ts'
import { loadTokenizer } from '../agent/model/tokenizer.ts'
import type { Quant } from '../shared/schema/model.ts'

const { values } = parseArgs({ options: { tokens: { type: 'string', default: '2000' } } })
const budget = Number(values.tokens)
if (!Number.isInteger(budget) || budget < 1)
  throw new RangeError(`--tokens wants a whole number above zero, got ${values.tokens}`)

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const bundled = join(root, 'models/tiny-story')
const { stories } = JSON.parse(readFileSync(join(root, 'test/data/held-out-stories.json'), 'utf8')) as {
  stories: string[]
}
const tokenizer = loadTokenizer(bundled)

const negativeLogLikelihood = (logits: Float32Array, token: number): number => {
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity)
  return top + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0)) - logits[token]
}

interface Form {
  readonly path: string
  readonly quant: Quant
  readonly backend: keyof typeof inlineBackends
}

/** @returns nats a token, and how many tokens those are */
const lossOf = async ({ path, quant, backend }: Form, folder: string) => {
  const model = openModel(path, 'tiny-story')
  const create = inlineBackends[backend] as CreateBackend
  const ring = await openRing({ model, shares: [1], quant, folder, create })
  let [loss, count] = [0, 0]
  try {
    for (const story of stories) {
      const tokens = tokenizer.encode(story)
      const rows = await ring.step([{ slot: 1, position: 0, tokens, logits: 'all' }])
      for (let i = 0; i + 1 < tokens.length && count < budget; i++, count++)
        loss += negativeLogLikelihood(rows[i], tokens[i + 1])
      await ring.release(1)
      if (count >= budget) break
    }
  } finally {
    await ring.close()
    model.close()
  }
  return { loss: loss / count, count }
}

const folder = mkdtempSync(join(tmpdir(), 'mesh-perplexity-'))
try {
  const { checkpoint, extras } = readFolder(bundled)
  const written = (mixture: MixtureName): string => {
    const file = join(folder, `${mixture}.gguf`)
    writeMixture(file, checkpoint, mixture, extras)
    return file
  }
  const backend = 'ggml'
  const forms: readonly (readonly [name: string, form: () => Form])[] = [
    ['f32', () => ({ path: bundled, quant: 'f32', backend })],
    ['q8', () => ({ path: bundled, quant: 'q8', backend })],
    ['q4', () => ({ path: bundled, quant: 'q4', backend })],
    ['q8, onnx', () => ({ path: bundled, quant: 'q8', backend: 'onnx' })],
    ['q4, onnx', () => ({ path: bundled, quant: 'q4', backend: 'onnx' })],
    ['file, folder in F16', () => ({ path: bundled, quant: 'file', backend })],
    ...(Object.keys(mixtures) as MixtureName[]).map((mixture): [string, () => Form] => [
      `file, ${mixture}`,
      () => ({ path: written(mixture), quant: 'file', backend }),
    ]),
  ]
  let first: number | undefined
  for (const [name, form] of forms) {
    const { loss, count } = await lossOf(form(), join(folder, name))
    first ??= loss
    const ratio = Math.exp(loss - first).toFixed(4)
    process.stdout.write(
      `${name.padEnd(20)} perplexity ${Math.exp(loss).toFixed(4)}, ${ratio} of f32 (${count} tokens)\n`,
    )
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
