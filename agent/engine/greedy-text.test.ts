/**
 * The bundled model, converted to GGUF by our own writer, continues prompts as llama.cpp continues them from the same
 * file. `node agent/engine/greedy-text.test.ts --full` asks for all prompts, and longer texts.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { isFull } from '../../test/support/full.ts'
import { type LlamaCpp, startLlamaCpp } from '../model/architecture/test/llama-cpp.ts'
import { openGguf } from '../model/gguf/gguf.ts'
import { readFolder, writeMixture } from '../model/gguf/test/convert.ts'
import { type MixtureName, mixtures } from '../model/gguf/test/mixtures.ts'
import { openModel } from '../model/model-folder.ts'
import { loadTokenizer } from '../model/tokenizer.ts'
import { at } from './test/bundled-reference.ts'
import { drawGreedily } from './test/greedy-text.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { openRing } from './test/ring-of-engines.ts'

const skip = !inlineBackends.ggml
const bundled = at('models/tiny-story')
const count = isFull ? 200 : 24
/** Two texts may part where the engine itself was as good as undecided. */
const undecided = 0.05

const { stories } = JSON.parse(readFileSync(at('test/data/held-out-stories.json'), 'utf8')) as { stories: string[] }
const questions = [
  'Tell me a story about a fox and a lantern.',
  'What is 7 plus 8?',
  'What is the opposite of heavy?',
  'What is the capital of France?',
]

const folder = mkdtempSync(join(tmpdir(), 'mesh-greedy-'))
let llama: LlamaCpp
before(() => {
  if (!skip) llama = startLlamaCpp()
})
after(async () => {
  if (!skip) await llama.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Twenty beginnings of different lengths; every fourth of them where there is no time for all. */
const promptsFor = (file: string): number[][] => {
  const tokenizer = loadTokenizer(file)
  const all = [
    ...stories.map((story, index) =>
      tokenizer.encode(
        story
          .split(' ')
          .slice(0, 4 + 3 * index)
          .join(' '),
      ),
    ),
    ...questions.map((content) => tokenizer.encodeChat([{ role: 'user', content }])),
  ]
  return isFull ? all : all.filter((_, index) => index % 4 === 3)
}

const model = skip ? undefined : readFolder(bundled)

const written = (mixture: MixtureName): string => {
  const file = join(folder, `${mixture}.gguf`)
  assert.ok(model)
  writeMixture(file, model.checkpoint, mixture, model.extras)
  return file
}

const tensorsOf = (file: string) => {
  const { tensors, close } = openGguf(file)
  try {
    return [...tensors.values()].map(({ name, dtype, start, end, file: from }) => {
      const bytes = new Uint8Array(end - start)
      from.read(bytes, start)
      return { name, dtype, bytes }
    })
  } finally {
    close()
  }
}

for (const mixture of ['F16', 'Q8_0', 'Q4_K_M'] as const)
  test(
    `greedy text: ${mixture}: our file has the tensors that llama-quantize makes, bit for bit`,
    { skip },
    async () => {
      const theirs = join(folder, `${mixture}-theirs.gguf`)
      await llama.quantize(written('F32'), theirs, mixtures[mixture].number)
      const want = new Map(tensorsOf(theirs).map((tensor) => [tensor.name, tensor]))
      const own = tensorsOf(written(mixture))
      assert.equal(own.length, want.size)
      for (const { name, dtype, bytes } of own) {
        assert.equal(dtype, want.get(name)?.dtype, name)
        assert.ok(Buffer.from(bytes).equals(want.get(name)!.bytes), name)
      }
    },
  )

for (const mixture of ['F32', 'F16', 'Q8_0', 'Q4_K_M'] as const)
  test(`greedy text: ${mixture}: prompts go on as with llama.cpp`, { skip }, async (t) => {
    const file = written(mixture)
    const opened = openModel(file, 'tiny-story')
    const [end] = opened.config.eosTokenIds
    const ring = await openRing({
      model: opened,
      shares: [1],
      quant: 'file',
      folder: join(folder, mixture),
      create: inlineBackends.ggml!,
    })
    const prompts = promptsFor(file)
    let [same, tokens] = [0, 0]
    try {
      for (const prompt of prompts) {
        const own = await drawGreedily(ring, prompt, { count, end })
        const want = await llama.greedy(file, prompt, count, end)
        const first = want.findIndex((token, index) => token !== own.tokens[index])
        tokens += first < 0 ? want.length : first
        if (first < 0 && own.tokens.length === want.length) {
          same++
          continue
        }
        t.diagnostic(`prompt of ${prompt.length} tokens: other at ${first}, margin ${own.margins[first].toFixed(4)}`)
        assert.notEqual(mixture, 'F32', `another text at token ${first}`)
        assert.ok(own.margins[first] < undecided, `another text at token ${first}, margin ${own.margins[first]}`)
      }
    } finally {
      await ring.close()
      opened.close()
    }
    t.diagnostic(`${mixture}: ${same} of ${prompts.length} texts identical, ${tokens} tokens alike`)
  })
