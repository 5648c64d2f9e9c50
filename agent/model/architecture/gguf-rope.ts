/** Factors of rope frequencies that GGUF files hold as tensors. */
import type { Json } from '../json.ts'
import type { GgufFacts } from './family.ts'

const listOf = ({ tensors }: GgufFacts, name: string): readonly number[] | undefined => {
  const tensor = tensors.get(name)
  return tensor && tensor.dims.length === 1 && tensor.dims[0] <= 4096 ? [...tensor.readRows(0, 1)] : undefined
}

/** One list of divisors: scaling of Llama 3, already computed. */
export const ropeFactors = (facts: GgufFacts): Json => {
  const factors = listOf(facts, 'rope_freqs.weight')
  return factors ? { rope_factors: factors } : {}
}

/** Two lists of divisors, for sequences up to the original context and for longer ones. */
export const listedFactors = (facts: GgufFacts): Json => {
  const [short, long] = [listOf(facts, 'rope_factors_short.weight'), listOf(facts, 'rope_factors_long.weight')]
  if (!short || !long) return {}
  return {
    rope_scaling: {
      rope_type: 'longrope',
      short_factor: short,
      long_factor: long,
      original_max_position_embeddings: facts.value('rope.scaling.original_context_length'),
      attention_factor: facts.value('rope.scaling.attn_factor'),
    },
  }
}
