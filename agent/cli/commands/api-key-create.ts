import { basename } from 'node:path'
import { Type } from 'typebox'
import { newApiKey } from '../../../shared/identity/api-key.ts'
import { ApiKeyId } from '../../../shared/schema/api-key.ts'
import { Count, Hex64, Name, Time } from '../../../shared/schema/common.ts'
import { selectPool } from '../../device/pools.ts'
import { reachableUrls } from '../../device/reachable-urls.ts'
import { keepCertificate } from '../../device/trusted-certificate.ts'
import { defineCommand } from '../command.ts'
import { validity } from '../render.ts'
import { checkName, openSession } from '../session.ts'

interface Use {
  readonly url: string
  readonly controlPlaneKey: string
  /** Of the certificate to trust; absent where the control plane speaks no TLS. */
  readonly file?: string
  readonly path: string
}

/** How an app uses it: on this machine as it is, on others by https. */
const useText = ({ url, controlPlaneKey, file, path }: Use): string => {
  const there = file === undefined ? url : (reachableUrls(url).find((one) => one.startsWith('https:')) ?? url)
  const isTls = there.startsWith('https:')
  const certificate = file === undefined || !isTls ? '' : `--cacert ${basename(file)} `
  return [
    ...(file === undefined || !isTls
      ? ['On any machine:']
      : [
          `On any machine, with a copy of ${file}`,
          '(it is no secret; curl wants it as below, Node in NODE_EXTRA_CA_CERTS, Python and others in SSL_CERT_FILE):',
        ]),
    '  export MESH_API_KEY=KEY',
    `  mesh inference --prompt "Once upon a time" --control-plane ` +
      `${there}${isTls ? ` --control-plane-key ${controlPlaneKey}` : ''}`,
    `  curl ${certificate}-H "Authorization: Bearer $MESH_API_KEY" ${there}${path}`,
    '',
  ].join('\n')
}

export const apiKeyCreate = defineCommand({
  name: 'api-key-create',
  summary: 'make an API key: lets an app run prompts on the pool without being a device of it',
  details:
    'The key is printed once and stored nowhere; the control plane keeps a hash. ' +
    'What the app uses counts as use of this device. It sees its own jobs and the rings of the pool, ' +
    'nothing else. The key ends when this device leaves the pool. ' +
    'The certificate that programs on other machines can trust is kept in a file, ' +
    'taken from the control plane that this device knows.',
  options: ['name', 'quota', 'expires', 'poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  required: ['name'],
  defaults: { expires: '90d' },
  examples: [
    'mesh api-key-create --name "home page"',
    'mesh api-key-create --name editor --quota 200000 --expires 30d',
  ],
  json: Type.Object({
    key: Type.String({ description: 'the key itself: it is shown this once' }),
    keyId: ApiKeyId,
    poolId: Hex64,
    name: Name,
    expiresAt: Time,
    tokensPerDay: Type.Optional(Count),
    controlPlane: Type.String(),
    controlPlaneKey: Hex64,
    certificateFile: Type.Optional(
      Type.String({
        description: 'what programs can trust to reach the control plane by https; absent where it speaks no TLS',
      }),
    ),
  }),
  run: async (context, values) => {
    const { client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const name = checkName('--name', values.name)
    const { text, keyId, hash } = newApiKey()
    const key = await client.call('createKey', {
      params: { poolId: pool.poolId },
      body: {
        keyId,
        hash,
        name,
        lifetimeMs: values.expires,
        ...(values.quota === undefined ? {} : { tokensPerDay: values.quota }),
      },
    })
    const file = await keepCertificate(context.home, client)
    const controlPlaneKey = await client.controlPlane()
    if (values.json) {
      context.printJson({ ...key, key: text, controlPlane: client.url, controlPlaneKey, certificateFile: file })
      return
    }
    context.stdout.write(`${text}\n`)
    const quota = key.tokensPerDay === undefined ? 'without a quota' : `${key.tokensPerDay} tokens a day`
    context.stderr.write(
      `for apps of pool ${pool.name}, ${quota}, valid for ${validity(key.expiresAt, context.now())}; ` +
        `it is not shown again.\n`,
    )
    context.stderr.write(useText({ url: client.url, controlPlaneKey, file, path: `/api/pools/${pool.poolId}/rings` }))
  },
})
