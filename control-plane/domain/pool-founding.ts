/** Which pool may be published here, and by whom. */
import { MeshError } from '../../shared/errors.ts'
import { shortId } from '../../shared/ids.ts'
import { type Certificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import { readCharter } from '../../shared/identity/pool-charter.ts'
import type { PoolCreation } from '../../shared/schema/pool.ts'

/** Its id and charter are those of its root key. @throws MeshError `poolKeyMismatch` | `charterInvalid` */
export const checkPool = ({
  poolId,
  rootPublicKey,
  charter,
}: Pick<PoolCreation, 'poolId' | 'rootPublicKey' | 'charter'>): void => {
  const root = Buffer.from(rootPublicKey, 'hex')
  if (poolIdOf(root) !== poolId) throw new MeshError('poolKeyMismatch', { poolId })
  readCharter(charter, root)
}

/** @throws MeshError `notAdmin` */
export const checkFounder = ({ poolId, role }: Pick<Certificate, 'poolId' | 'role'>): void => {
  if (role !== 'admin') throw new MeshError('notAdmin', { poolId: shortId(poolId) })
}
