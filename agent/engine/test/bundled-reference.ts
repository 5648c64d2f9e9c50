/** The reference of the bundled model, and the rings that are held against it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Model, openModel } from '../../model/model-folder.ts'
import { createGgmlBackend } from '../../compute/ggml/ggml-backend.ts'
import { createOnnxBackend } from '../../compute/onnx/onnx-backend.ts'
import { ggmlComes } from './platform.ts'
import type { CreateBackend, RingOfEngines } from './ring-of-engines.ts'

export interface ReferenceCase {
  readonly prompt_text: string
  readonly prompt_ids: number[]
  readonly continuation_ids: number[]
  readonly continuation_text: string
  readonly logits: { argmax: number; max: number; first8: number[] }[]
}

/** Of a file of this project. */
export const at = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
export const { cases } = JSON.parse(readFileSync(at('test/data/tiny-story-reference.json'), 'utf8')) as {
  cases: ReferenceCase[]
}

export const argmax = (logits: Float32Array): number =>
  logits.reduce((best, value, index) => (value > logits[best] ? index : best), 0)

/** To be closed by who opens it. */
export const openBundledModel = (): Model => openModel(at('models/tiny-story'), 'tiny-story')

/** Greedy continuation by cached decode. */
export const continueGreedily = async (
  ring: RingOfEngines,
  prompt: readonly number[],
  count: number,
): Promise<number[]> => {
  const slot = 7
  const tokens: number[] = []
  let [logits] = await ring.step([{ slot, position: 0, tokens: [...prompt], logits: 'last' }])
  for (;;) {
    tokens.push(argmax(logits))
    if (tokens.length === count) break
    ;[logits] = await ring.step([
      { slot, position: prompt.length + tokens.length - 1, tokens: tokens.slice(-1), logits: 'last' },
    ])
  }
  await ring.release(slot)
  return tokens
}

/**
 * f32: logits within 2e-3 at every position of that case, and the same greedy text.
 * @param count tokens of it, if not all
 */
export const checkReference = async (
  ring: RingOfEngines,
  { prompt_ids: prompt, continuation_ids: continuation, logits }: ReferenceCase,
  { slot = 0, count = continuation.length } = {},
): Promise<void> => {
  const rows = await ring.step([{ slot, position: 0, tokens: [...prompt, ...continuation], logits: 'all' }])
  for (const [position, want] of logits.entries()) {
    const got = rows[position]
    assert.equal(argmax(got), want.argmax)
    assert.ok(Math.abs(got[want.argmax] - want.max) < 2e-3)
    for (const [id, value] of want.first8.entries())
      assert.ok(Math.abs(got[id] - value) < 2e-3, `position ${position}, token ${id}: ${got[id]}, want ${value}`)
  }
  await ring.release(slot)
  assert.deepEqual(await continueGreedily(ring, prompt, count), continuation.slice(0, count))
}

export const creators = {
  onnx: (options) => createOnnxBackend(options),
  ggml: (options) => createGgmlBackend(options),
} satisfies Record<string, CreateBackend>
export type Kind = keyof typeof creators
/** Rings to check: of one kind of backend, and mixed. */
export const ringKinds: Readonly<Record<string, readonly Kind[]>> = ggmlComes
  ? { onnx: ['onnx'], ggml: ['ggml'], mixed: ['ggml', 'onnx'] }
  : { onnx: ['onnx'] }
