/**
 * Brings the memory lock of this home and the record of the control plane together: the newer statement holds in both.
 */
import type { Client } from '../../shared/api/client.ts'
import type { Home } from '../../shared/home.ts'
import { verifyCommitment } from '../../shared/identity/lock-statement.ts'
import type { LocalDevice } from './device.ts'
import { readClock } from './elapsed.ts'
import { adoptLock, loadLock, type StoredLock } from './lock-store.ts'

export interface LockSync {
  readonly home: Home
  readonly device: LocalDevice
  readonly client: Client
}

/**
 * Sends what is stored here; takes over what the control plane has, when that is newer (this home was restored from an
 * older copy, or lost). May be repeated at any time. @throws MeshError of the client | `stateUnreadable` |
 * `stateUnwritable`
 */
export const syncLock = async ({ home, device, client }: LockSync): Promise<StoredLock | undefined> => {
  const local = loadLock(home, device)
  const { statement } =
    local === undefined
      ? await client.call('getLock', {})
      : await client.call('recordLock', { body: { statement: local.statement } })
  if (statement === null || statement === local?.statement) return local
  const known = verifyCommitment(statement, device.key.publicKey)
  // another command may have stored and sent it while we asked
  const present = loadLock(home, device)
  if (present !== undefined && (present.statement === statement || present.commitment.sequence > known.sequence))
    return present
  return adoptLock(home, device, statement, readClock())
}
