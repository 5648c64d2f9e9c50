/** Measures single checks of whole rings: every step is watched, every part of it is compared. */
import { join } from 'node:path'
import { planShards } from '../../../shared/plan/shard-plan.ts'
import type { ModelShape, Quant } from '../../../shared/schema/model.ts'
import type { WireType } from '../../collective/wire-types.ts'
import type { Seen, Watch } from '../../engine/engine.ts'
import { openBundledModel } from '../../engine/test/bundled-reference.ts'
import { ggmlComes } from '../../engine/test/platform.ts'
import { type Model, openModel } from '../../model/model-folder.ts'
import { writeRandomModel } from '../../model/random-model.ts'
import { compare } from '../compare.ts'
import { cutRows, type MatrixName, piecesOf, readNorm, shapeOf } from '../half-layer.ts'
import type { HeldHalf } from '../recompute.ts'
import { blockOf, type Kind, type Lie, openCheckedRing } from './checked-ring.ts'

export interface HonestCase {
  readonly name: string
  readonly kinds: readonly Kind[]
  readonly quant: Quant
  readonly wire?: WireType
  /** The model that comes with Mesh, in place of one of random weights. */
  readonly bundled?: boolean
}

const ringsOf = (quant: Quant, bundled: boolean): HonestCase[] => {
  const rings: readonly (readonly Kind[])[] = ggmlComes
    ? [
        ['ggml', 'ggml'],
        ['onnx', 'onnx', 'onnx'],
        ['ggml', 'onnx'],
      ]
    : [['onnx', 'onnx']]
  return rings.map((kinds) => ({
    name: `${kinds.join(' + ')}, ${quant}, ${bundled ? 'bundled model' : 'random weights'}`,
    kinds,
    quant,
    bundled,
  }))
}

export const honestCases: readonly HonestCase[] = (['f32', 'q8', 'q4'] as const).flatMap((quant) => [
  ...ringsOf(quant, true),
  ...ringsOf(quant, false),
])

/** Uniform in 0..1 (xorshift32, Marsaglia 2003). */
const randomOf = (seed: number) => {
  let state = (Math.imul(seed, 0x9e3779b9) ^ 0x51ed270b) >>> 0 || 1
  return (): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

/**
 * Of a size at which a half takes a millisecond; widths that ggml can hold in four bits, and blocks of 128 that are
 * cut.
 */
const shapeFor = (random: () => number): ModelShape => {
  const pick = (least: number, most: number): number => least + Math.floor(random() * (most - least + 1))
  const kvHeads = pick(1, 3)
  return {
    layers: 2,
    hidden: 32 * pick(2, 8),
    heads: kvHeads * pick(1, 2),
    kvHeads,
    headDim: 32,
    ffn: 32 * pick(6, 20),
    vocab: 64 * pick(1, 4),
    context: 512,
  }
}

const openModelOf = ({ bundled }: HonestCase, folder: string, seed: number): Model => {
  if (bundled) return openBundledModel()
  const path = join(folder, `model-${seed}`)
  writeRandomModel(path, { shape: shapeFor(randomOf(seed)), tied: true, dtype: 'F32', seed })
  return openModel(path, 'random')
}

interface Checker {
  errorOf(rank: number, seen: Seen): number
}

/** Half layers in memory, of every rank and layer that was asked for. */
const checkerOf = (model: Model, { kinds, quant }: HonestCase): Checker => {
  const plan = planShards(
    model.config.shape,
    kinds.map(() => 1),
  )
  const halves = new Map<string, HeldHalf>()
  const halfOf = (rank: number, layer: number): HeldHalf => {
    const key = `${rank}/${layer}`
    const request = { spec: model.config.spec, layer, ffn: plan[rank].ffn, quant, block: blockOf(kinds[rank], quant) }
    const cut = (name: MatrixName) =>
      piecesOf(shapeOf(request, name)).map((rows) => cutRows(model.roles(), request, name, rows))
    const known = halves.get(key)
    if (known) return known
    const matrices = { gateUp: cut('gateUp'), down: cut('down') }
    const half: HeldHalf = { request, norm: readNorm(model.roles(), request), rows: (name) => matrices[name] }
    halves.set(key, half)
    return half
  }
  return {
    errorOf: (rank, { layer, x, parts, wire }) =>
      compare(
        halfOf(rank, layer),
        { x, part: parts.get(rank) as Float32Array, wire },
        { kinds: [kinds[rank]], epsilon: model.config.normEpsilon },
      ).error,
  }
}

export interface MeasureOptions {
  readonly folder: string
  readonly seed: number
  /** At least so many. */
  readonly checks: number
  /** Of the last rank; then only its parts are measured. */
  readonly lie?: Lie
}

/** Errors of single checks: of parts of all ranks but rank 0, which watches, and of rank 0 as rank 1 sees it. */
export const measureRing = async (
  one: HonestCase,
  { folder, seed, checks, lie }: MeasureOptions,
): Promise<{ readonly errors: number[] }> => {
  const model = openModelOf(one, folder, seed)
  const random = randomOf(seed + 77)
  const { kinds, quant, wire } = one
  const liar = kinds.length - 1
  const { layers, vocab, context } = model.config.shape
  const checker = checkerOf(model, one)
  const errors: number[] = []
  let watch: Watch = { layer: 0, row: 0 }
  const ring = await openCheckedRing({
    model,
    kinds,
    quant,
    wire,
    lies: lie ? { [liar]: lie } : {},
    around: (engine, rank) => ({
      ...engine,
      step: async (input) => {
        const result = await engine.step({ ...input, watch })
        const wanted = lie ? [liar] : rank === 0 ? [...kinds.keys()].slice(1) : [0]
        if (rank < 2 && result.seen)
          for (const checked of wanted)
            if (result.seen.parts.has(checked)) errors.push(checker.errorOf(checked, result.seen))
        return result
      },
    }),
  })
  try {
    for (let position = 0; errors.length < checks;) {
      const count = random() < 0.1 ? Math.min(40, context - position) : 1
      const tokens = Array.from({ length: count }, () => Math.floor(random() * vocab))
      watch = { layer: Math.floor(random() * layers), row: Math.floor(random() * count) }
      await ring.step([{ slot: 1, position, tokens, logits: 'last' }])
      position += count
      if (position < context - 41) continue
      await ring.release(1)
      position = 0
    }
  } finally {
    await ring.close()
    model.close()
  }
  return { errors }
}
