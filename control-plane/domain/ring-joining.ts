/** Who may serve in a ring, and with which files. */
import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../shared/errors.ts'
import { shortId, shortRevision } from '../../shared/ids.ts'
import { limits } from '../../shared/limits.ts'
import type { ModelManifest, Quant } from '../../shared/schema/model.ts'

/** What a ring serves, or a device would serve. */
export interface Served {
  readonly model: ModelManifest
  readonly quant: Quant
}

/** @param served rings of the pool that the device serves in already @throws MeshError `ringLimit` */
export const checkRingLimit = (isNew: boolean, served: number): void => {
  if (isNew && served >= limits.ringsOfDevice) throw new MeshError('ringLimit', { limit: limits.ringsOfDevice })
}

/**
 * Whether a device joins the ring of its model as that is, or makes it anew.
 * @param ring the one that is there
 * @param isTaken others serve in it, or a job runs
 * @throws MeshError `modelMismatch` | `quantMismatch` | `requestInvalid` (another shape for the same files)
 */
export const decideJoin = (ring: Served | undefined, own: Served, isTaken: boolean): 'join' | 'define' => {
  if (!ring) return 'define'
  const { modelId, revision, shape } = own.model
  const hasFiles = ring.model.revision === revision
  if (hasFiles && ring.quant === own.quant) {
    if (isDeepStrictEqual(ring.model.shape, shape)) return 'join'
    throw new MeshError('requestInvalid', {
      problem: `the shape of ${modelId} differs from the one the ring has for the same files`,
    })
  }
  if (!isTaken) return 'define'
  if (hasFiles) throw new MeshError('quantMismatch', { modelId, got: own.quant, want: ring.quant })
  throw new MeshError('modelMismatch', {
    modelId,
    got: shortRevision(revision),
    want: shortRevision(ring.model.revision),
  })
}

/** A ring is removed by an admin, or by the only device that serves in it. @throws MeshError `notAdmin` */
export const checkRemoval = (
  poolId: string,
  by: { readonly deviceId: string; readonly isAdmin: boolean },
  serving: readonly { readonly deviceId: string }[],
): void => {
  if (!by.isAdmin && serving.some(({ deviceId }) => deviceId !== by.deviceId))
    throw new MeshError('notAdmin', { poolId: shortId(poolId) })
}
