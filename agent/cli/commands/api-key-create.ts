import { Type } from 'typebox'
import { newApiKey } from '../../../shared/identity/api-key.ts'
import { ApiKeyId } from '../../../shared/schema/api-key.ts'
import { Count, Hex64, Name, Time } from '../../../shared/schema/common.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { validity } from '../render.ts'
import { checkName, openSession } from '../session.ts'

export const apiKeyCreate = defineCommand({
  name: 'api-key-create',
  summary: 'make an API key: lets an app run prompts on the pool without being a device of it',
  details: 'The key is printed once and stored nowhere; the control plane keeps a hash. What the app uses counts as use of this device. It sees its own jobs and the rings of the pool, nothing else. The key ends when this device leaves the pool.',
  options: ['name', 'quota', 'expires', 'poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  required: ['name'],
  defaults: { expires: '90d' },
  examples: ['mesh api-key-create --name "home page"', 'mesh api-key-create --name editor --quota 200000 --expires 30d'],
  json: Type.Object({
    key: Type.String({ description: 'the key itself: it is shown this once' }),
    keyId: ApiKeyId, poolId: Hex64, name: Name, expiresAt: Time, tokensPerDay: Type.Optional(Count), controlPlane: Type.String(),
  }),
  run: async (context, values) => {
    const { client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const name = checkName('--name', values.name)
    const { text, keyId, hash } = newApiKey()
    const key = await client.call('createKey', { params: { poolId: pool.poolId }, body: { keyId, hash, name, lifetimeMs: values.expires, ...(values.quota === undefined ? {} : { tokensPerDay: values.quota }) } })
    if (values.json) {
      context.printJson({ ...key, key: text, controlPlane: client.url })
      return
    }
    context.stdout.write(`${text}\n`)
    const quota = key.tokensPerDay === undefined ? 'without a quota' : `${key.tokensPerDay} tokens a day`
    context.stderr.write([
      `for apps of pool ${pool.name}, ${quota}, valid for ${validity(key.expiresAt, context.now())}; it is not shown again. On any machine:`,
      '  export MESH_API_KEY=KEY',
      `  mesh inference --prompt "Once upon a time" --control-plane ${client.url}`,
      `  curl -H "Authorization: Bearer $MESH_API_KEY" ${client.url}/api/pools/${pool.poolId}/rings`,
      '',
    ].join('\n'))
  },
})
