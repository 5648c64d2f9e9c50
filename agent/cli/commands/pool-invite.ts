import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { Count, Hex64, Time } from '../../../shared/schema/common.ts'
import { Role } from '../../../shared/schema/pool.ts'
import { makeInvite } from '../../device/invites.ts'
import { needSigner, selectPool } from '../../device/pools.ts'
import { reachableUrls } from '../../device/reachable-urls.ts'
import { defineCommand } from '../command.ts'
import { qrCode } from '../qr-code.ts'
import { counted, validity } from '../render.ts'
import { ifReachable, openSession } from '../session.ts'

export const poolInvite = defineCommand({
  name: 'pool-invite',
  summary: 'print an invite: one line that lets a device join the pool',
  details:
    'Whoever has the line can use it: send it over a channel you trust. The agent of this device accepts it, ' +
    'so mesh start must run here. --control-plane names the address of the control plane as the other device sees it.',
  options: ['poolId', 'uses', 'expires', 'role', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: [
    'mesh pool-invite',
    'mesh pool-invite --uses 5 --expires 7d',
    'mesh pool-invite --control-plane https://192.168.1.20:8080',
  ],
  json: Type.Object({
    invite: Type.String(),
    poolId: Hex64,
    role: Role,
    uses: Count,
    notAfter: Time,
    urls: Type.Array(Type.String()),
  }),
  run: async (context, values) => {
    const { device, client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    needSigner(pool, device.key)
    const role = values.role as Role
    if (role === 'admin' && pool.rootKey === undefined)
      throw new MeshError('notAdmin', { poolId: `${pool.name}, with its root key,` })
    const notAfter = Math.floor((context.now() + values.expires) / 1000) * 1000
    const urls = values.controlPlane === undefined ? reachableUrls(client.url) : [client.url]
    const met = await ifReachable(client.controlPlane())
    if ('problem' in met)
      context.stderr.write(
        `${met.problem.message}\nso the invite does not name the key of the control plane: ` +
          `whoever uses it trusts the one that answers\n`,
      )
    const invite = makeInvite(context.home, pool, {
      role,
      uses: values.uses,
      notAfter,
      urls,
      ...('answer' in met ? { controlPlaneKey: met.answer } : {}),
    })
    if (values.json) {
      context.printJson({ invite, poolId: pool.poolId, role, uses: values.uses, notAfter, urls })
      return
    }
    context.stdout.write(`${invite}\n`)
    if (context.stdout.isTTY) context.stdout.write(qrCode(invite))
    context.stderr.write(
      `for ${counted(values.uses, 'device')}, valid for ${validity(notAfter, context.now())}, ` +
        `while mesh start runs here; the other device runs: mesh pool-join --invite LINE\n`,
    )
  },
})
