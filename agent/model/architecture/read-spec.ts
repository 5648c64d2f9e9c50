/** What a model computes, read from its config.json by the row of its family. */
import { MeshError } from '../../../shared/errors.ts'
import { checkKeys, configKeys, type Harmless } from '../config-keys.ts'
import { isJson, type Json, shown } from '../json.ts'
import { caps, configValues, type ConfigValues } from './config-values.ts'
import { families } from './families.ts'
import type { Family } from './family.ts'
import type { LayerSpec, ModelSpec } from './model-spec.ts'

/** Keys that every row reads. */
const commonKeys = `architectures vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads
  num_key_value_heads head_dim max_position_embeddings rms_norm_eps rope_theta rope_scaling rope_parameters
  original_max_position_embeddings tie_word_embeddings bos_token_id eos_token_id`

/** Of a multimodal checkpoint, beside its `text_config`: what is about images, sound and their places in the text. */
const wrapperKeys = `text_config vision_config audio_config image_token_id image_token_index video_token_id
  video_token_index audio_token_id boi_token_id boi_token_index eoi_token_id eoi_token_index boa_token_id eoa_token_id
  eoa_token_index vision_start_token_id vision_end_token_id vision_token_id mm_tokens_per_image
  vision_soft_tokens_per_image audio_soft_tokens_per_image projector_hidden_act spatial_merge_size
  multimodal_projector_bias vision_feature_layer vision_feature_select_strategy language_model_only
  architectures model_type tie_word_embeddings bos_token_id eos_token_id`

const words = (text = ''): string[] => text.split(/\s+/).filter((word) => word !== '')

export interface ReadSpec {
  readonly spec: ModelSpec
  readonly family: Family
  /** The part of the file that is about text. */
  readonly text: Json
}

export interface ReadSpecOptions {
  /** For messages. */
  readonly file: string
  /** What may stand under `quantization_config`. Default: nothing, weights are plain. */
  readonly quantization?: Harmless
}

const invalid = (file: string, problem: string): MeshError => new MeshError('modelConfigInvalid', { file, problem })

/** Names of classes that are supported, for messages and docs. */
export const supportedClasses = (): string[] =>
  families.flatMap(({ classes, wrappers = [] }) => [...classes, ...wrappers])

const plainWeights: Harmless = { says: 'none', holds: () => false }

interface Found {
  readonly family: Family
  readonly text: Json
}

/** @throws MeshError `architectureUnsupported` | `modelConfigInvalid` */
const findFamily = (config: Json, { file, quantization = plainWeights }: ReadSpecOptions): Found => {
  const { architectures } = config
  const names = Array.isArray(architectures) ? architectures.filter((name) => typeof name === 'string') : []
  if (names.length === 0 || names.length > 16)
    throw invalid(file, `architectures is ${shown(architectures)}, it must be a list of names`)
  const plain = families.find(({ classes }) => classes.some((name) => names.includes(name)))
  if (plain) return { family: plain, text: config }
  const wrapping = families.filter(({ wrappers = [] }) => wrappers.some((name) => names.includes(name)))
  if (wrapping.length === 0) throw unsupported(names[0])
  const text = config.text_config
  if (!isJson(text)) throw invalid(file, `text_config is ${shown(text)}, it must be an object`)
  // the class of the text part takes its own type for one that is not said
  const family = wrapping.find(({ modelTypes }) =>
    modelTypes.some((type) => type === (text.model_type ?? modelTypes[0])),
  )
  if (!family) throw unsupported(`${names[0]} of ${shown(text.model_type)}`)
  checkKeys(file, config, {
    ...configKeys(words(wrapperKeys)),
    harmless: { quantization_config: quantization },
  })
  return { family, text: withOuter(text, config) }
}

/** Of the keys that both levels may have, those of the text count. */
const withOuter = (text: Json, outer: Json): Json => {
  const shared = ['tie_word_embeddings', 'dtype', 'torch_dtype', 'bos_token_id', 'eos_token_id']
  return {
    ...Object.fromEntries(shared.filter((key) => Object.hasOwn(outer, key)).map((key) => [key, outer[key]])),
    ...text,
  }
}

const unsupported = (architecture: string): MeshError =>
  new MeshError('architectureUnsupported', {
    architecture: architecture.slice(0, 100),
    supported: supportedClasses().join(', '),
  })

const known = (family: Family, quantization: Harmless | undefined) => {
  const keys = configKeys([...words(commonKeys), ...words(family.reads)])
  const usual = Object.entries(keys.harmless).filter(([key]) => !keys.read.has(key))
  return {
    read: keys.read,
    ignored: new Set([...keys.ignored, ...words(family.ignores)]),
    harmless: {
      ...Object.fromEntries(usual),
      model_type: family.modelTypes,
      ...family.harmless,
      ...(quantization && { quantization_config: quantization }),
    },
  }
}

/**
 * Reads the object of a config.json.
 * @throws MeshError `architectureUnsupported` | `modelConfigInvalid` naming key and value of what is not understood
 */
export const readSpec = (config: unknown, { file, quantization }: ReadSpecOptions): ReadSpec => {
  if (!isJson(config)) throw invalid(file, 'it is not an object')
  const { family, text } = findFamily(config, { file, ...(quantization && { quantization }) })
  checkKeys(file, text, known(family, quantization))
  return { spec: specOf(family, configValues(file, text, family.defaults)), family, text }
}

const expertsIn = ({ feedForward }: LayerSpec): number => feedForward.experts?.count ?? 0

/** The spec that a row makes of its values. @throws MeshError `modelConfigInvalid` */
export const specOf = (family: Family, values: ConfigValues): ModelSpec => {
  const kinds = new Map<string, { readonly index: number; readonly layer: LayerSpec }>()
  const layers = Array.from({ length: values.layers }, (_, index) => {
    const layer = family.layer(values, index)
    const key = JSON.stringify(layer)
    const kind = kinds.get(key) ?? { index: kinds.size, layer }
    kinds.set(key, kind)
    return kind.index
  })
  const experts = layers.reduce((sum, kind) => sum + expertsIn([...kinds.values()][kind].layer), 0)
  if (experts > caps.allExperts)
    throw invalid(values.file, `its layers have ${experts} experts together, ${caps.allExperts} is the most`)
  const epsilon = family.epsilon ?? 'rms_norm_eps'
  if (values.positive(epsilon) > 1) values.refuse(epsilon, 'it must be at most 1')
  return {
    family: family.name,
    hidden: values.hidden,
    vocab: values.size('vocab_size', caps.vocab),
    context: values.context,
    norm: { kind: family.norm ?? 'rms', epsilon: values.positive(epsilon) },
    embeddingScale: family.embeddingScale?.(values) ?? 1,
    logits: family.logits?.(values) ?? { scale: 1 },
    tied: values.flag('tie_word_embeddings'),
    kinds: [...kinds.values()].map(({ layer }) => layer),
    layers,
  }
}
