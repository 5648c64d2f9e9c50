/**
 * Norms in plain JavaScript, where every rank must compute the same bits: kernels of different processors add up in
 * different orders.
 */
import type { ModelSpec } from '../model/architecture/model-spec.ts'

/** One row: x, weight and `into` f32 [hidden]; x and `into` may be the same. */
export const normRow = (
  { kind, epsilon }: ModelSpec['norm'],
  weight: Float32Array,
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
}
