/** Which keys a query sees, by position. */
import type { MaskSpec, ModelSpec } from '../model/architecture/model-spec.ts'

/** Position of the first key that the query at `position` sees; the last one is its own. */
export const firstSeen = (mask: MaskSpec, position: number): number => {
  if (mask.kind === 'window') return Math.max(0, position - mask.window + 1)
  return mask.kind === 'chunk' ? position - (position % mask.chunk) : 0
}

export const sameMask = (one: MaskSpec, other: MaskSpec): boolean => JSON.stringify(one) === JSON.stringify(other)

/** The different masks of a model. */
export const maskKindsOf = ({ kinds }: ModelSpec): MaskSpec[] =>
  kinds
    .map(({ mixer }): MaskSpec => (mixer.kind === 'attention' ? mixer.mask : { kind: 'full' }))
    .filter((mask, index, all) => all.findIndex((other) => sameMask(mask, other)) === index)
