/**
 * How a command changes who is removed from a pool: from the newest list it can find to the next one, here and at the
 * control plane.
 */
import { MeshError } from '../../shared/errors.ts'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import { Revocations } from '../device/revocations.ts'
import type { CommandContext } from './command.ts'
import type { AdminSession } from './join-requests.ts'
import { ifReachable } from './session.ts'

/** Attempts when another admin publishes at the same time. */
const attempts = 3

export interface Published {
  readonly number: number
  /** Why only this device and its peers know of it, so far. */
  readonly problem?: MeshError
}

/**
 * Signs the next list and publishes it; it is kept here first, so that the running agent passes it on even when the
 * control plane is away.
 * @throws MeshError of the client | `stateUnwritable`
 */
export const publishRemovals = async (
  context: CommandContext,
  { client, pool, signer }: AdminSession,
  change: (removed: Set<string>) => void,
): Promise<Published> => {
  const { poolId } = pool
  const held = new Revocations(context.home, context.now)
  for (let attempt = 1; ; attempt++) {
    const newest = await ifReachable(client.call('getRevocations', { params: { poolId } }))
    if ('answer' in newest && newest.answer.list !== undefined) held.accept(poolId, newest.answer.list)
    const before = held.listOf(poolId)
    const removed = new Set<string>(before?.removed)
    change(removed)
    const list = signRevocations(signer, { after: before?.number ?? 0, removed }, context.now())
    if (!held.accept(poolId, list))
      throw new MeshError('revocationsInvalid', { problem: 'this device was removed by the one that is held' })
    try {
      const result = await ifReachable(client.call('publishRevocations', { params: { poolId }, body: { list } }))
      return { number: (before?.number ?? 0) + 1, problem: 'problem' in result ? result.problem : undefined }
    } catch (error) {
      if (attempt === attempts || !(error instanceof MeshError) || error.code !== 'revocationsInvalid') throw error
    }
  }
}
