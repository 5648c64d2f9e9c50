/** What admins of a pool sign for all of it: who was removed, and which control plane serves it. */
import { MeshError } from '../../shared/errors.ts'
import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

export const statementRoutes = ({
  pools,
  pins,
  removals,
  revocations,
}: Services): Pick<Handlers, 'getRevocations' | 'publishRevocations' | 'getPin' | 'publishPin'> => ({
  getRevocations: ({ params }) => ({ list: revocations.of(pools.need(params.poolId))?.text }),
  publishRevocations: ({ params, body }) => {
    if (!removals.publish(pools.need(params.poolId), body.list))
      throw new MeshError('revocationsInvalid', { problem: 'the control plane holds a newer one' })
    return { ok: true }
  },
  getPin: ({ params }) => ({ pin: pins.pinOf(pools.need(params.poolId))?.text }),
  publishPin: ({ params, body }) => {
    if (!pins.publish(pools.need(params.poolId), body.pin))
      throw new MeshError('pinInvalid', { problem: 'the control plane holds a newer one' })
    return { ok: true }
  },
})
