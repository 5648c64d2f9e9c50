/** What the commands of an admin share: its pool, and the request or member that a few digits mean. */
import { MeshError } from '../../shared/errors.ts'
import { needSigner, selectPool, type LocalPool } from '../device/pools.ts'
import type { Signer } from '../../shared/identity/pool-certificate.ts'
import { selectByDigits } from '../../shared/ids.ts'
import type { CommandContext } from './command.ts'
import { openSession, type Session } from './session.ts'

export interface AdminSession extends Session {
  readonly pool: LocalPool
  readonly signer: Signer
}

/** @throws MeshError `notAdmin` | those of `openSession` and `selectPool` */
export const openAdminSession = (
  context: CommandContext,
  values: { readonly poolId?: string; readonly controlPlane?: string },
): AdminSession => {
  const session = openSession(context, values)
  const pool = selectPool(context.home, values.poolId)
  return { ...session, pool, signer: needSigner(pool, session.device.key) }
}

/** Nouns of devices that a command may be about, and what lists them. */
const lists = { 'member with the id': 'mesh pool-peers', 'join request of device': 'mesh pool-requests' } as const
type DeviceNoun = keyof typeof lists

/**
 * The one device that the digits mean.
 * @param what the noun of `lookFor` in `errors.ts`, which tells where such devices are listed
 * @throws MeshError `usage` | `notFound`
 */
export const selectDevice = <One extends { readonly deviceId: string }>(
  all: readonly One[],
  digits: string,
  what: DeviceNoun,
): One => {
  const found = selectByDigits(all, ({ deviceId }) => deviceId, digits, {
    flag: '--device',
    noun: 'device',
    list: lists[what],
  })
  if (found === undefined) throw new MeshError('notFound', { what, id: digits.toLowerCase() })
  return found
}
