/**
 * What services tell others without knowing them. Calls go one way, from jobs to rings to what both stand on; what has
 * to reach the other way is told here, to whoever listens, before `emit` returns.
 */
import { EventEmitter } from 'node:events'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { StoredRing } from '../store/ring-store.ts'

/** Event -> what it carries. */
export interface PlaneEvents {
  /** Every member of the epoch that is there is ready. */
  ringActive: [ringId: string]
  /** The job of a ring ended: it may have another. */
  ringFree: [ringId: string]
  /** Something may have changed for those who wait for the ring. */
  ringEvaluated: [ringId: string]
  /** Nobody serves that model any more. */
  ringDissolved: [ring: StoredRing]
  /** A member of an epoch says that it is over for it. */
  memberFailed: [ringId: string, deviceId: string, error: ErrorReportJson | undefined]
  /** What a device may hold has changed. */
  roomChanged: [deviceId: string]
  /** The pool is served here no more: its rings lose their members. */
  poolMoved: [poolId: string]
  /** A key ended before its time: its jobs shall not go on. */
  keyRevoked: [keyId: string]
}

export type Events = EventEmitter<PlaneEvents>

export const createEvents = (): Events => new EventEmitter<PlaneEvents>()
