/** What a shard that keeps the bits of its file holds, in words. */
import type { HeldMatrices } from '../../shared/schema/model.ts'
import { formatBytes } from '../../shared/words.ts'

type Held = readonly HeldMatrices[]

const isKept = ({ fileType, heldType }: HeldMatrices): boolean => fileType === heldType
const bytesOf = (held: Held): string => formatBytes(held.reduce((sum, { bytes }) => sum + bytes, 0))
/** `o`, `down`, `experts.gate`, `head` */
const shortPart = ({ part }: HeldMatrices): string => part.replace(/^(attention|mlp)\./, '')

/** `Q4_K: q, k, o, head, 2.1 MB; Q6_K: v, down, 0.4 MB` */
export const heldText = (held: Held): string => {
  const groups = Map.groupBy(held.filter(isKept), ({ heldType }) => heldType)
  if (groups.size === 0) return 'nothing'
  return [...groups]
    .map(([type, own]) => `${type}: ${[...new Set(own.map(shortPart))].join(', ')}, ${bytesOf(own)}`)
    .join('; ')
}

/** `o from Q4_K to Q4_1 in 8 matrices, 0.5 MB; 0.5 MB in all`, or `nothing` */
export const reblockedText = (held: Held): string => {
  const others = held.filter((one) => !isKept(one))
  if (others.length === 0) return 'nothing'
  const lines = others.map(
    (one) =>
      `${shortPart(one)} from ${one.fileType} to ${one.heldType} in ` +
      `${one.matrices} ${one.matrices === 1 ? 'matrix' : 'matrices'}, ${bytesOf([one])}`,
  )
  return `${lines.join('; ')}${others.length > 1 ? `; ${bytesOf(others)} in all` : ''}`
}

/** `Q4_K, Q6_K, 12 re-blocked`: types of the file, and how many matrices have another one. */
export const typesText = (held: Held): string => {
  const others = held.filter((one) => !isKept(one)).reduce((sum, { matrices }) => sum + matrices, 0)
  const types = [...new Set(held.map(({ fileType }) => fileType))].join(', ')
  return others === 0 ? types : `${types}, ${others} re-blocked`
}
