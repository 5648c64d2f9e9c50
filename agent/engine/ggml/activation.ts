/** What an MLP does between its matrices. */
import type { Activation } from '../../model/architecture/model-spec.ts'
import type { Ggml, Pointer } from './library.ts'

/**
 * x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), as x sigmoid(2 ...): ggml's own operation looks it up in a table
 * of f16, which costs three digits.
 */
const geluTanh = (ggml: Ggml, context: Pointer, x: Pointer): Pointer => {
  const factor = 2 * Math.sqrt(2 / Math.PI)
  const inner = ggml.scale_bias(context, ggml.sqr(context, x), 0.044715 * factor, factor)
  return ggml.mul(context, x, ggml.sigmoid(context, ggml.mul(context, inner, x)))
}

const plain = (ggml: Ggml, context: Pointer, activation: Exclude<Activation, object>, x: Pointer): Pointer => {
  if (activation === 'silu') return ggml.silu(context, x)
  if (activation === 'gelu') return ggml.gelu_erf(context, x)
  if (activation === 'relu2') return ggml.sqr(context, ggml.relu(context, x))
  return geluTanh(ggml, context, x)
}

/** @param gate absent where the MLP has none: then activation(up) */
export const activated = (
  ggml: Ggml,
  context: Pointer,
  activation: Activation,
  { gate, up }: { readonly gate: Pointer | undefined; readonly up: Pointer },
): Pointer => {
  if (typeof activation === 'object') {
    if (gate === undefined) throw new Error('a clamped GLU has a gate')
    return ggml.swiglu_oai(context, gate, up, activation.alpha, activation.limit)
  }
  if (gate === undefined) return plain(ggml, context, activation, up)
  if (activation === 'silu') return ggml.swiglu_split(context, gate, up)
  return ggml.mul(context, plain(ggml, context, activation, gate), up)
}
