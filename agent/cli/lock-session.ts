/** What the commands on memory locks have in common: agree with the control plane, change the lock, agree again. */
import type { MeshError } from '../../shared/errors.ts'
import { registerDevice } from '../device/control-plane.ts'
import { readCapabilities } from '../device/device.ts'
import { changeLock, type StoredLock } from '../device/lock-store.ts'
import { syncLock } from '../device/lock-sync.ts'
import type { ResourceLock } from '../device/resource-lock.ts'
import type { CommandContext } from './command.ts'
import { ifReachable, type Session } from './session.ts'

/**
 * @returns what is wrong when the control plane cannot be told now: the agent will.
 * @throws MeshError of the control plane
 */
const agree = async ({ home }: CommandContext, { device, client }: Session): Promise<MeshError | undefined> => {
  const result = await ifReachable(
    registerDevice(client, device, readCapabilities()).then(() => syncLock({ home, device, client })),
  )
  return 'problem' in result ? result.problem : undefined
}

export interface LockChange {
  readonly changed: boolean
  /** Absent when the control plane recorded it. */
  readonly unrecorded?: MeshError
}

/**
 * The lock on disk is what counts; it is written between asking and telling the control plane.
 * @throws MeshError of `decide`
 */
export const commandLock = async (
  context: CommandContext,
  session: Session,
  decide: (before: StoredLock | undefined) => ResourceLock,
): Promise<LockChange> => {
  // first what others know of this device: a home restored from a copy must not contradict it
  await agree(context, session)
  const { before, after } = changeLock(context.home, session.device, decide)
  const unrecorded = await agree(context, session)
  return { changed: before !== after, ...(unrecorded ? { unrecorded } : {}) }
}

export const noteUnrecorded = ({ stderr }: CommandContext, { unrecorded }: LockChange): void => {
  if (unrecorded)
    stderr.write(`note: ${unrecorded.message}; the agent (mesh start) records the lock there when it can\n`)
}
