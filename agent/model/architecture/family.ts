/** A row of the table of families: what its files say, in which words, and which parts that makes. */
import type { Json } from '../json.ts'
import type { Harmless } from '../config-keys.ts'
import type { ConfigValues } from './config-values.ts'
import type { LayerSpec, ModelSpec } from './model-spec.ts'
import type { Names } from './naming.ts'
import type { StoredTensor } from './tensor-roles.ts'

export interface Family {
  /** For people, and for `ModelSpec.family`. */
  readonly name: string
  /** What people know it by. */
  readonly models: string
  /** Names in `architectures` of config.json. */
  readonly classes: readonly string[]
  readonly modelTypes: readonly string[]
  /**
   * Classes of multimodal checkpoints whose text part (`text_config`) is of this family. Their towers for images and
   * sound are passed over.
   */
  readonly wrappers?: readonly string[]
  /** Keys of config.json that this row reads, beside those that every row reads. */
  readonly reads?: string
  /** Keys that change nothing here whatever they say. */
  readonly ignores?: string
  /** Keys that this row does not read, with the values that they may have. */
  readonly harmless?: Readonly<Record<string, Harmless>>
  /** What the class takes for keys that are absent. */
  readonly defaults: Json
  /** Key of the epsilon of norms. Default: `rms_norm_eps`. */
  readonly epsilon?: string
  readonly norm?: ModelSpec['norm']['kind']
  /** Factor of embedding rows. Default: 1. */
  readonly embeddingScale?: (values: ConfigValues) => number
  /** Default: neither scale nor cap. */
  readonly logits?: (values: ConfigValues) => ModelSpec['logits']
  readonly layer: (values: ConfigValues, index: number) => LayerSpec
  /** Names of tensors in safetensors, where they are not the usual ones. */
  readonly names?: Names
  /** Layers behind the last one draft further tokens: they are passed over. */
  readonly draftLayers?: true
  /** Tensors of safetensors that are passed over, beside those that every family may have. */
  readonly passesOver?: RegExp
  /** Absent: not read from GGUF. */
  readonly gguf?: GgufRow
}

/** What is different where a family comes in a GGUF file. */
export interface GgufRow {
  /** Value of `general.architecture`. */
  readonly architecture: string
  /** Which of several rows of one architecture it is. */
  readonly when?: (metadata: GgufFacts) => boolean
  /** Keys behind the architecture that this row reads, and what config.json calls them; null: they change nothing. */
  readonly keys?: Readonly<Record<string, string | null>>
  /** What the file does not say, in the words of config.json: it follows from the architecture. */
  readonly implied?: (facts: GgufFacts) => Json
  readonly names?: Names
  /** Blocks behind the last layer that draft further tokens are passed over; `block_count` counts them. */
  readonly draftBlocks?: true
  /** Tensors that are passed over. */
  readonly passesOver?: RegExp
}

export interface GgufFacts {
  /** Of `key` behind the architecture. */
  readonly value: (key: string) => unknown
  readonly tensors: ReadonlyMap<string, StoredTensor>
}
