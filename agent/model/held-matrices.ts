/** What a shard that keeps the bits of its file says of itself: which matrices are as they were, which are not. */
import type { HeldMatrices } from '../../shared/schema/model.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { ModelSpec } from './architecture/model-spec.ts'
import { type Roles, rowBytes } from './architecture/tensor-roles.ts'
import { matrixParts } from './shard-parts.ts'
import { storedTypes } from './shard-types.ts'

/** One entry for each kind of matrix and pair of types, in the order of the shard. */
export const heldMatrices = (spec: ModelSpec, ranges: RankRanges, roles: Roles): HeldMatrices[] => {
  const types = storedTypes(spec, ranges, roles)
  const found = new Map<string, HeldMatrices>()
  for (const { name, rows, columns, pieces } of matrixParts(spec, ranges, 'separate')) {
    const part = name.replace(/^layers\.\d+\./, '')
    const [fileType, heldType] = [roles.role(pieces[0].role).type, types[name]]
    const key = [part, fileType, heldType].join()
    const { matrices, bytes } = found.get(key) ?? { matrices: 0, bytes: 0 }
    found.set(key, {
      part,
      fileType,
      heldType,
      matrices: matrices + 1,
      bytes: bytes + rows * rowBytes(heldType, columns),
    })
  }
  return [...found.values()]
}
