import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { Hex64, Name } from '../../../shared/schema/common.ts'
import { Role } from '../../../shared/schema/pool.ts'
import { publishPool } from '../../device/control-plane.ts'
import { adminsReadText, createPool, listPools, type LocalPool, readersText } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { fields } from '../render.ts'
import { pinNewPool } from '../pool-pin.ts'
import { checkName, ifReachable, openSession } from '../session.ts'

/** The command with which others ask to come in. */
const joinLine = (pool: Pick<LocalPool, 'poolId' | 'rootPublicKey'>): string =>
  `mesh pool-join --pool-id ${pool.poolId} --pool-root-pubkey ${pool.rootPublicKey}`

export const poolCreate = defineCommand({
  name: 'pool-create',
  summary: 'make a pool; this device becomes its admin',
  details:
    'Keeps the root key of the pool on this device (mode 0600). ' +
    'Repeating it with the same name publishes the same pool again. Who reads prompts and answers is signed now, ' +
    'for good: their submitter alone, or with --admins-read-text the admins too; whoever joins is told.',
  options: ['name', 'adminsReadText', 'controlPlane', 'controlPlaneKey', 'json'],
  required: ['name'],
  examples: ['mesh pool-create --name home', 'mesh pool-create --name school --admins-read-text'],
  json: Type.Object({
    poolId: Hex64,
    name: Name,
    rootPublicKey: Hex64,
    role: Role,
    published: Type.Boolean({ description: 'false: no control plane answered; the agent publishes the pool later' }),
    created: Type.Boolean(),
    adminsReadText: Type.Boolean({ description: 'admins of the pool read prompts and answers of all' }),
    join: Type.String({ description: 'the command with which another device asks to come in' }),
  }),
  run: async (context, values) => {
    const { device, client } = openSession(context, values)
    const name = checkName('--name', values.name)
    const existing = listPools(context.home).find((pool) => pool.name === name && pool.rootKey !== undefined)
    if (existing !== undefined && values.adminsReadText && !adminsReadText(existing)) {
      throw new MeshError('usage', {
        problem: `pool ${name} was made without --admins-read-text, and stays so: make another`,
      })
    }
    const pool =
      existing ??
      createPool(context.home, device.deviceId, { name, adminsReadText: values.adminsReadText }, context.now())
    const isForAdmins = adminsReadText(pool)
    const result = await ifReachable(publishPool(client, device, pool))
    const published = 'answer' in result
    if (pool.rootKey) await pinNewPool(context, { pool, signer: pool.rootKey, client })
    if (values.json) {
      context.printJson({
        ...pool,
        published,
        created: existing === undefined,
        adminsReadText: isForAdmins,
        join: joinLine(pool),
      })
      return
    }
    context.stdout.write(
      fields(
        [
          ['pool', existing === undefined ? name : `${name} (made before)`],
          ['pool id', pool.poolId],
          ['root public key', pool.rootPublicKey],
          ['role', 'admin'],
          ['text is for', readersText(isForAdmins)],
        ],
        context.stdout.columns,
      ),
    )
    if (!published)
      context.stdout.write(
        `${(result.problem satisfies MeshError).message}\nthe pool is kept here and published by: mesh start\n`,
      )
    context.stdout.write(
      `\nInvite a device (while mesh start runs here):\n  mesh pool-invite\nor let it ask, ` +
        `and answer with mesh pool-approve:\n  ${joinLine(pool)}\n`,
    )
  },
})
