import { shortId } from '../../../shared/ids.ts'
import type { ApiKey } from '../../../shared/schema/api-key.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { ago, printJson, table, validity } from '../render.ts'
import { openSession } from '../session.ts'

const stateText = ({ revokedAt, expiresAt }: ApiKey, now: number): string => (revokedAt === undefined ? (expiresAt <= now ? 'expired' : `valid for ${validity(expiresAt, now)}`) : `revoked ${ago(revokedAt, now)}`)

const useText = ({ usedToday, reserved, tokensPerDay }: ApiKey): string => `${usedToday}${reserved === 0 ? '' : ` (+${reserved} running)`} of ${tokensPerDay ?? 'any'}`

/** The fields of a key for programs; what was never set is null. */
export const keyJson = (key: ApiKey): Record<string, unknown> => ({
  key_id: key.keyId, pool_id: key.poolId, name: key.name, device_id: key.deviceId, device_name: key.deviceName, created_at: key.createdAt, expires_at: key.expiresAt,
  revoked_at: key.revokedAt ?? null, last_used_at: key.lastUsedAt ?? null, tokens_per_day: key.tokensPerDay ?? null, used_today: key.usedToday, reserved: key.reserved,
})

export const apiKeyList = defineCommand({
  name: 'api-key-list',
  summary: 'API keys of this device in a pool, and what they used; an admin sees those of all',
  options: ['poolId', 'controlPlane', 'json'],
  examples: ['mesh api-key-list', 'mesh api-key-list --json'],
  run: async (context, values) => {
    const { client, device } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const keys = await client.call('listKeys', { params: { poolId: pool.poolId } })
    if (values.json) {
      printJson(context.stdout, keys.map(keyJson))
      return
    }
    if (keys.length === 0) {
      context.stdout.write(`no API keys in pool ${pool.name} yet: mesh api-key-create --name app\n`)
      return
    }
    const now = context.now()
    context.stdout.write(table(['id', 'name', 'made by', 'created', 'last used', 'tokens today', 'state'], keys.map((key) => [
      key.keyId, key.name,
      key.deviceId === device.deviceId ? `${key.deviceName} (this device)` : `${key.deviceName} (${shortId(key.deviceId)})`,
      ago(key.createdAt, now), key.lastUsedAt === undefined ? 'never' : ago(key.lastUsedAt, now), useText(key), stateText(key, now),
    ])))
  },
})
