/** Canonical tensors of an opened model, whichever format it is in. */
import type { Family } from './family.ts'
import type { ModelSpec } from './model-spec.ts'
import { ggufNames, huggingFaceNames } from './names.ts'
import type { Names } from './naming.ts'
import { bindRoles, type RoleTensors } from './role-tensors.ts'
import type { StoredTensor } from './tensor-roles.ts'

export interface BoundModel {
  readonly family: Family
  readonly spec: ModelSpec
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** For messages. */
  readonly folder: string
}

/** Names of a family's tensors in safetensors. */
export const safetensorsNames = ({ names }: Family): Names => ({ ...huggingFaceNames, ...names })
/** Names of a family's tensors in GGUF. */
export const ggufNamesOf = ({ gguf }: Family): Names => ({ ...ggufNames, ...gguf?.names })

/** Where the text part of a multimodal checkpoint lies; transformers moved it from one place to the other. */
const textPrefixes: readonly (readonly [string, string])[] = [
  ['language_model.model.', 'model.'],
  ['model.language_model.', 'model.'],
  ['language_model.lm_head.', 'lm_head.'],
]

/** Parts of multimodal checkpoints that no text goes through. */
const towers = /^(model\.)?(vision_|visual\.|audio_|embed_vision|embed_audio|multi_modal_projector|mm_projector)/

/** As the row calls it. */
export const textName = (name: string): string => {
  const prefix = textPrefixes.find(([from]) => name.startsWith(from))
  return prefix ? `${prefix[1]}${name.slice(prefix[0].length)}` : name
}

/** @throws MeshError `tensorMissing` | `tensorShape` | `tensorUnknown` | `dtypeUnsupported` */
export const bindSafetensors = ({ family, spec, tensors, folder }: BoundModel): RoleTensors => {
  const named = family.wrappers
    ? new Map([...tensors].map(([name, tensor]): [string, StoredTensor] => [textName(name), tensor]))
    : tensors
  return bindRoles({
    spec,
    names: safetensorsNames(family),
    tensors: named,
    folder,
    // tables that old files carry along, and the head of a model that uses its embedding instead, as transformers does
    mayPassOver: (name) =>
      name.endsWith('.rotary_emb.inv_freq') ||
      (spec.tied && name === 'lm_head.weight') ||
      (family.wrappers !== undefined && towers.test(name)) ||
      (family.draftLayers !== undefined && Number(/^model\.layers\.(\d+)\./.exec(name)?.[1]) >= spec.layers.length) ||
      (family.passesOver?.test(name) ?? false),
  })
}

/** @throws MeshError `tensorMissing` | `tensorShape` | `tensorUnknown` | `dtypeUnsupported` */
export const bindGguf = ({ family, spec, tensors, folder }: BoundModel): RoleTensors =>
  bindRoles({
    spec,
    names: ggufNamesOf(family),
    tensors,
    folder,
    mayPassOver: (name) =>
      // factors of rope are in the spec
      /^rope_(freqs|factors_(long|short))\.weight$/.test(name) ||
      (family.gguf?.draftBlocks !== undefined && Number(/^blk\.(\d+)\./.exec(name)?.[1]) >= spec.layers.length) ||
      (family.gguf?.passesOver?.test(name) ?? false),
  })
