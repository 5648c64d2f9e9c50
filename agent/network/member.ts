/** The other side of a connection that passed the gate, as whatever serves members is given it. */
import type { Connection } from '@libp2p/interface'
import type { DeviceId } from '../../shared/ids.ts'

declare const admitted: unique symbol

/** Nobody but `admissions.ts` makes one: to hold it is to know that the gate was passed. */
export interface Member {
  readonly [admitted]: true
  readonly connection: Connection
  readonly deviceId: DeviceId
  /** It proved membership of that pool, and that still holds. */
  isOf(poolId: string): boolean
}
