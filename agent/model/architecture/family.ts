/** A row of the table of families: what its files say, in which words, and which parts that makes. */
import type { Json } from '../json.ts'
import type { Harmless } from '../config-keys.ts'
import type { ConfigValues } from './config-values.ts'
import type { LayerSpec, ModelSpec } from './model-spec.ts'

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
}
