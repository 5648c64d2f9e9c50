/** A GGUF file of a model with random weights, different in every layer: what llama.cpp is timed on. */
import { ggufNamesOf } from '../agent/model/architecture/bind.ts'
import type { AttentionSpec, ModelSpec } from '../agent/model/architecture/model-spec.ts'
import { fileLayout } from '../agent/model/architecture/random-checkpoint.ts'
import { plainFrequencies } from '../agent/model/architecture/rope-frequencies.ts'
import { bytesOfValues } from '../agent/model/blocks/formats.ts'
import { byteVocabulary } from '../agent/model/gguf/byte-vocabulary.ts'
import { type TypedValue, writeGguf, type WrittenTensor, writtenBytes } from '../agent/model/gguf/write-gguf.ts'
import type { Json } from '../agent/model/json.ts'
import { isJson } from '../agent/model/json.ts'
import { randomPlain, randomWeights } from './random-blocks.ts'
import type { ShapedModel } from './shapes.ts'
import type { TypeOf } from './weight-types.ts'

const u32 = (value: unknown): TypedValue => ({ type: 'u32', value: Number(value) })
const f32 = (value: unknown): TypedValue => ({ type: 'f32', value: Number(value) })

type Keys = Record<string, TypedValue>

const attentionOf = ({ kinds }: ModelSpec): AttentionSpec => {
  const { mixer } = kinds[0]
  if (mixer.kind !== 'attention') throw new Error('only models of attention are written with random weights')
  return mixer
}

const scalingOf = (config: Json): Json => (isJson(config.rope_scaling) ? config.rope_scaling : {})

const yarnKeys = (config: Json): Keys => {
  const scaling = scalingOf(config)
  if (scaling.rope_type !== 'yarn') return {}
  return {
    'rope.scaling.type': { type: 'string', value: 'yarn' },
    'rope.scaling.factor': f32(scaling.factor),
    'rope.scaling.original_context_length': u32(scaling.original_max_position_embeddings),
  }
}

/** Keys of the family that are numbers of its config.json, by another name. */
const familyKeys = ({ family, config }: ShapedModel): Keys =>
  Object.fromEntries(
    Object.entries(family.gguf?.keys ?? {}).flatMap(([key, name]): [string, TypedValue][] =>
      name !== null && Number.isInteger(config[name]) ? [[key, u32(config[name])]] : [],
    ),
  )

const keysOf = (model: ShapedModel): Keys => {
  const { spec, config } = model
  const { heads, kvHeads, headDim, rope } = attentionOf(spec)
  return {
    context_length: u32(spec.context),
    embedding_length: u32(spec.hidden),
    block_count: u32(spec.layers.length),
    feed_forward_length: u32(config.intermediate_size),
    'attention.head_count': u32(heads),
    'attention.head_count_kv': u32(kvHeads),
    'attention.key_length': u32(headDim),
    'attention.value_length': u32(headDim),
    'attention.layer_norm_rms_epsilon': f32(spec.norm.epsilon),
    'rope.dimension_count': u32(rope?.span ?? headDim),
    'rope.freq_base': f32(config.rope_theta),
    vocab_size: u32(spec.vocab),
    ...yarnKeys(config),
    ...familyKeys(model),
  }
}

/** Divisors of Llama 3's frequencies, which files hold computed. */
const divisorsOf = ({ spec, config }: ShapedModel): WrittenTensor[] => {
  const { rope } = attentionOf(spec)
  if (scalingOf(config).rope_type !== 'llama3' || !rope) return []
  const plain = plainFrequencies(Number(config.rope_theta), rope.span)
  const values = Float32Array.from(plain, (frequency, pair) => frequency / rope.frequencies[pair])
  return [{ name: 'rope_freqs.weight', dims: [values.length], type: 'F32', bytes: () => new Uint8Array(values.buffer) }]
}

const tensorsOf = (model: ShapedModel, typeOf: TypeOf): WrittenTensor[] => [
  ...[...fileLayout(model.spec, ggufNamesOf(model.family))].map(([name, { dims, role }]): WrittenTensor => {
    const type = typeOf(role)
    const length = bytesOfValues(
      type,
      dims.reduce((product, dim) => product * dim, 1),
    )
    return {
      name,
      dims,
      type,
      bytes: () =>
        type === 'F32' ? randomPlain(role.part, length, role.columns) : randomWeights(type, length, role.columns),
    }
  }),
  ...divisorsOf(model),
]

/** Bytes of its tensors. */
export const randomGgufBytes = (model: ShapedModel, typeOf: TypeOf): number =>
  tensorsOf(model, typeOf).reduce((sum, tensor) => sum + writtenBytes(tensor), 0)

/** Writes the file piece by piece, however large it is. */
export const writeRandomGguf = (file: string, model: ShapedModel, typeOf: TypeOf): void => {
  const { family, spec } = model
  if (!family.gguf) throw new Error(`${family.name} is not read from GGUF`)
  const { architecture } = family.gguf
  writeGguf(file, {
    metadata: {
      'general.architecture': { type: 'string', value: architecture },
      ...Object.fromEntries(Object.entries(keysOf(model)).map(([key, value]) => [`${architecture}.${key}`, value])),
      ...byteVocabulary(spec.vocab),
    },
    tensors: tensorsOf(model, typeOf),
  })
}
