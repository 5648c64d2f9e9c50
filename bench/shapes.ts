/** Models by their sizes alone: what they compute is known, and weights are made up. */
import type { Family } from '../agent/model/architecture/family.ts'
import type { ModelSpec } from '../agent/model/architecture/model-spec.ts'
import { publishedConfigs } from '../agent/model/architecture/published.ts'
import { readSpec } from '../agent/model/architecture/read-spec.ts'
import type { Json } from '../agent/model/json.ts'
import { shapeOf } from '../agent/model/model-shape.ts'
import { llamaConfig } from '../agent/model/random-model.ts'
import type { ModelShape } from '../shared/schema/model.ts'

/** Small Llamas. */
export const shapes: Readonly<Record<string, ModelShape>> = {
  'tinyllama-1.1b': {
    layers: 22,
    hidden: 2048,
    heads: 32,
    kvHeads: 4,
    headDim: 64,
    ffn: 5632,
    vocab: 32000,
    context: 4096,
  },
  'llama-160m': {
    layers: 12,
    hidden: 768,
    heads: 12,
    kvHeads: 12,
    headDim: 64,
    ffn: 3072,
    vocab: 32000,
    context: 2048,
  },
  /** Next to no arithmetic: what is left is hand-overs and links. */
  tiny: { layers: 4, hidden: 256, heads: 8, kvHeads: 8, headDim: 32, ffn: 768, vocab: 2048, context: 4096 },
}

/** config.json of every shape that can be named. */
export const shapeConfigs: Readonly<Record<string, Json>> = {
  ...Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, llamaConfig(shape)])),
  ...publishedConfigs,
}

export interface ShapedModel {
  readonly config: Json
  readonly family: Family
  readonly spec: ModelSpec
  readonly shape: ModelShape
}

export const shapedModel = (config: Json): ShapedModel => {
  const { family, spec } = readSpec(config, { file: 'config.json' })
  return { config, family, spec, shape: shapeOf(spec) }
}

/** @param name one of `--shape`, whose option knows no other */
export const modelOfShape = (name: string): ShapedModel => shapedModel(shapeConfigs[name])
