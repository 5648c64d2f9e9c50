/**
 * Norms in plain JavaScript, where every rank must compute the same bits: kernels of different processors add up in
 * different orders.
 */
import type { ModelSpec } from '../model/architecture/model-spec.ts'
import type { PlainTensors } from './plain-tensors.ts'

export interface NormWeights {
  readonly weight: Float32Array
  readonly bias: Float32Array | undefined
}

export const readNorm = (plain: PlainTensors, name: string): NormWeights => ({
  weight: plain.read(name),
  bias: plain.has(`${name}.bias`) ? plain.read(`${name}.bias`) : undefined,
})

/** One row: x and `into` f32 [hidden], which may be the same. */
export const normRow = (
  { kind, epsilon }: ModelSpec['norm'],
  { weight, bias }: NormWeights,
  x: Float32Array,
  into: Float32Array,
): void => {
  let mean = 0
  if (kind === 'layer') {
    for (let i = 0; i < x.length; i++) mean += x[i]
    mean /= x.length
  }
  let squares = 0
  for (let i = 0; i < x.length; i++) squares += (x[i] - mean) * (x[i] - mean)
  const scale = 1 / Math.sqrt(squares / x.length + epsilon)
  for (let i = 0; i < x.length; i++) into[i] = (x[i] - mean) * scale * weight[i]
  if (bias) for (let i = 0; i < x.length; i++) into[i] += bias[i]
}
