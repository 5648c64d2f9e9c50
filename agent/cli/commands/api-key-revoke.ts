import { MeshError } from '../../../shared/errors.ts'
import { apiKeyIdIn } from '../../../shared/identity/api-key.ts'
import { ApiKey } from '../../../shared/schema/api-key.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { oneLine } from '../../../shared/text.ts'
import { openSession } from '../session.ts'

/** @throws MeshError `usage` */
const keyIdOf = (typed: string): string => {
  const keyId = apiKeyIdIn(typed) ?? typed.toLowerCase()
  if (!/^[0-9a-f]{16}$/.test(keyId))
    throw new MeshError('usage', { problem: 'an API key is named by the 16 hex digits of its id: mesh api-key-list' })
  return keyId
}

export const apiKeyRevoke = defineCommand({
  name: 'api-key-revoke',
  summary: 'end an API key at once, and the jobs that run with it',
  details: 'For the device that made it, and for admins. The id may be given without its flag: mesh api-key-revoke ID.',
  options: ['key', 'poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  required: ['key'],
  bare: 'key',
  examples: ['mesh api-key-revoke 0123456789abcdef'],
  json: ApiKey,
  run: async (context, values) => {
    const { client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const key = await client.call('revokeKey', { params: { poolId: pool.poolId, keyId: keyIdOf(values.key) } })
    if (values.json) context.printJson(key)
    else context.stdout.write(`revoked ${oneLine(key.name)} (${key.keyId}) of ${oneLine(key.deviceName)}\n`)
  },
})
