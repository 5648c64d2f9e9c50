/** Types of the matrices of a file as `llama-quantize` gives them out: most in one type, those that matter in another. */
import type { ModelSpec } from '../agent/model/architecture/model-spec.ts'
import type { Role } from '../agent/model/architecture/roles.ts'
import { blockSizes, type WeightType } from '../agent/model/architecture/tensor-roles.ts'

interface Mixture {
  readonly most: WeightType
  /** Head, and of every third layer and those at both ends v and down. */
  readonly more?: WeightType
  readonly head?: WeightType
  readonly experts?: WeightType
}

const mixtures = {
  f16: { most: 'F16' },
  q4_0: { most: 'Q4_0', head: 'Q6_K' },
  q8_0: { most: 'Q8_0' },
  q4_k_m: { most: 'Q4_K', more: 'Q6_K', head: 'Q6_K' },
  q5_k_m: { most: 'Q5_K', more: 'Q6_K', head: 'Q6_K' },
  q6_k: { most: 'Q6_K' },
  /** As files of gpt-oss are. */
  mxfp4: { most: 'Q8_0', experts: 'MXFP4' },
} as const satisfies Readonly<Record<string, Mixture>>
export type TypesName = keyof typeof mixtures
export const typesNames = Object.keys(mixtures) as TypesName[]

/** What stands in for blocks of 256 where rows are no whole ones. */
const narrow: Partial<Record<WeightType, WeightType>> = { Q4_K: 'Q5_0', Q5_K: 'Q5_1', Q6_K: 'Q8_0' }

/** Type of a canonical tensor in a file. */
export type TypeOf = (role: Role) => WeightType

const isPlain = ({ part, columns }: Role): boolean => columns === 1 || /\.router|\.scale$/.test(part)

/** All matrices of one type. */
export const uniformTypes =
  (type: WeightType): TypeOf =>
  (role) =>
    isPlain(role) ? 'F32' : type

const getsMore = (layer: number, layers: number): boolean => {
  const eighth = Math.floor(layers / 8)
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2
}

export const mixedTypes = ({ tied, layers }: ModelSpec, name: TypesName): TypeOf => {
  const { most, more = most, head = most, experts = most }: Mixture = mixtures[name]
  const wanted = ({ part, layer }: Role): WeightType => {
    if (part === 'head' || (part === 'embedding' && tied)) return head
    if (/(attention\.v|\.down)$/.test(part) && more !== most && getsMore(layer as number, layers.length)) return more
    return part.startsWith('mlp.experts.') ? experts : most
  }
  return (role) => {
    if (isPlain(role)) return 'F32'
    const type = wanted(role)
    return role.columns % blockSizes[type].values === 0 ? type : (narrow[type] ?? 'F16')
  }
}
