import { MeshError } from '../../shared/errors.ts'
import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

export const keyRoutes = ({ keys }: Services): Pick<Handlers, 'createKey' | 'listKeys' | 'revokeKey' | 'getKey'> => ({
  createKey: ({ caller, params, body }) => keys.create(params.poolId, caller.deviceId, body),
  listKeys: ({ caller, params }) => keys.list(params.poolId, caller),
  revokeKey: ({ caller, params }) => keys.revoke(params.poolId, params.keyId, caller),
  getKey: ({ caller }) => {
    if (caller.keyId === undefined) throw new MeshError('keyInvalid', { problem: 'none was sent' })
    return keys.view(caller.keyId)
  },
})
