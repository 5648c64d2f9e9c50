/** What a rank gives for the MLP half of one layer, by the float64 oracle of families. */
import type { Range } from '../../../shared/schema/common.ts'
import { layerSpec, type ModelSpec } from '../../model/architecture/model-spec.ts'
import type { RoleTensor } from '../../model/architecture/tensor-roles.ts'
import { activate, rmsNorm } from '../../model/architecture/test/oracle-vectors.ts'
import { project, weightsOf } from '../../model/architecture/test/oracle-weights.ts'

interface OracleHalf {
  readonly spec: ModelSpec
  readonly roles: ReadonlyMap<string, RoleTensor>
  readonly layer: number
  /** Columns of the rank. */
  readonly ffn: Range
}

/** @param x f32 [hidden], the residual before the half. @returns float64 [hidden] */
export const oracleHalf = ({ spec, roles, layer, ffn }: OracleHalf, x: Float32Array): Float64Array => {
  const { start, end } = ffn
  const weights = weightsOf(roles, `layers.${layer}.`)
  const row = rmsNorm(Float64Array.from(x), spec.norm.epsilon, weights('mlp.norm').values)
  const [gate, up] = ['gate', 'up'].map((part) => project([row], weights, `mlp.${part}`)[0])
  const own = activate(layerSpec(spec, layer).feedForward.activation, gate, up)
  return project([own.map((value, i) => (i >= start && i < end ? value : 0))], weights, 'mlp.down')[0]
}
