import { Type } from 'typebox'
import { shortId } from '../../../shared/ids.ts'
import { ApiKey } from '../../../shared/schema/api-key.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { ago, table, validity } from '../render.ts'
import { openSession } from '../session.ts'

const stateText = ({ revokedAt, expiresAt }: ApiKey, now: number): string =>
  revokedAt === undefined
    ? expiresAt <= now
      ? 'expired'
      : `valid for ${validity(expiresAt, now)}`
    : `revoked ${ago(revokedAt, now)}`

const useText = ({ usedToday, reserved, tokensPerDay }: ApiKey): string =>
  `${usedToday}${reserved === 0 ? '' : ` (+${reserved} running)`} of ${tokensPerDay ?? 'any'}`

export const apiKeyList = defineCommand({
  name: 'api-key-list',
  summary: 'API keys of this device in a pool, and what they used; an admin sees those of all',
  options: ['poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh api-key-list', 'mesh api-key-list --json'],
  json: Type.Array(ApiKey),
  run: async (context, values) => {
    const { client, device } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const keys = await client.call('listKeys', { params: { poolId: pool.poolId } })
    if (values.json) {
      context.printJson(keys)
      return
    }
    if (keys.length === 0) {
      context.stdout.write(`no API keys in pool ${pool.name} yet: mesh api-key-create --name app\n`)
      return
    }
    const now = context.now()
    context.stdout.write(
      table(
        ['id', 'name', 'made by', 'created', 'last used', 'tokens today', 'state'],
        keys.map((key) => [
          key.keyId,
          key.name,
          key.deviceId === device.deviceId
            ? `${key.deviceName} (this device)`
            : `${key.deviceName} (${shortId(key.deviceId)})`,
          ago(key.createdAt, now),
          key.lastUsedAt === undefined ? 'never' : ago(key.lastUsedAt, now),
          useText(key),
          stateText(key, now),
        ]),
        { columns: context.stdout.columns, below: ['made by', 'created', 'last used'] },
      ),
    )
  },
})
