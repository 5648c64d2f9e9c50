/** How far what a rank sent is from what it should have sent. */
import type { Quant } from '../../shared/schema/model.ts'
import { asSent, type WireType } from '../collective/wire-types.ts'
import { type HeldHalf, type Partial, recompute } from './recompute.ts'
import type { BackendKind } from './rounding.ts'

/**
 * Error from which a part is wrong, as a fraction of its norm. Honest ones are off by 1e-6 (sums in another order);
 * with 8-bit activations one in a thousand by more, where several values are close calls: 0.43 % at most in all that
 * was measured (`bench/spot-checks.ts`). A part that is wrong by 1 % is off by 1 %.
 */
export const tolerances: Readonly<Record<Quant, number>> = { f32: 0.001, q8: 0.006, q4: 0.006, file: 0.006 }

/** From here on nothing honest is near, and one part is enough. */
export const grossError = 0.03

/**
 * From here on the weights may be others: those of blocks of 32 and of 128 columns give parts that differ by 10 % and
 * more.
 */
export const unlikeError = 0.05

/** An error of that much needs no second look. */
const exact = 1e-4

export interface Sent {
  /** The residual before the half, f32 [hidden]. */
  readonly x: Float32Array
  /** f32 [hidden], as it arrived. */
  readonly part: Float32Array
  readonly wire: WireType
}

export interface Comparison {
  /** The backend whose rounding fits best. */
  readonly kind: BackendKind
  readonly error: number
}

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))

/** Terms that are this many times as large as their sum cancel each other out: rounding is a fraction of them then. */
const cancelling = 4

/** Norm of the difference over that of the part, or of its terms where these cancel each other out. */
export const errorOf = ({ part, wire }: Pick<Sent, 'part' | 'wire'>, { values, terms }: Partial): number => {
  const want = asSent(values, wire)
  const scale = Math.max(norm(want), terms / cancelling)
  const difference = norm(want.map((value, i) => part[i] - value))
  return difference === 0 ? 0 : difference / scale
}

/** @param kinds that the rank may compute with, the likeliest first */
export const compare = (
  half: HeldHalf,
  sent: Sent,
  { kinds, epsilon }: { readonly kinds: readonly BackendKind[]; readonly epsilon: number },
): Comparison => {
  let best: Comparison = { kind: kinds[0], error: Infinity }
  for (const kind of kinds) {
    for (const partial of recompute(half, sent.x, { kind, epsilon })) {
      const error = errorOf(sent, partial)
      if (error < best.error) best = { kind, error }
      if (error < exact) return best
    }
  }
  return best
}
