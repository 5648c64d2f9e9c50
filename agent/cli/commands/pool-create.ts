import { Type } from 'typebox'
import type { MeshError } from '../../../shared/errors.ts'
import { Hex64, Name } from '../../../shared/schema/common.ts'
import { Role } from '../../../shared/schema/pool.ts'
import { publishPool } from '../../device/control-plane.ts'
import { createPool, listPools, type LocalPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { fields } from '../render.ts'
import { checkName, ifReachable, openSession } from '../session.ts'

/** The command with which others ask to come in. */
const joinLine = (pool: Pick<LocalPool, 'poolId' | 'rootPublicKey'>): string => `mesh pool-join --pool-id ${pool.poolId} --pool-root-pubkey ${pool.rootPublicKey}`

export const poolCreate = defineCommand({
  name: 'pool-create',
  summary: 'make a pool; this device becomes its admin',
  details: 'Keeps the root key of the pool on this device (mode 0600). Repeating it with the same name publishes the same pool again.',
  options: ['name', 'controlPlane', 'json'],
  required: ['name'],
  examples: ['mesh pool-create --name home'],
  json: Type.Object({
    poolId: Hex64, name: Name, rootPublicKey: Hex64, role: Role,
    published: Type.Boolean({ description: 'false: no control plane answered; the agent publishes the pool later' }),
    created: Type.Boolean(),
    join: Type.String({ description: 'the command with which another device asks to come in' }),
  }),
  run: async (context, values) => {
    const { device, client } = openSession(context, values)
    const name = checkName('--name', values.name)
    const existing = listPools(context.home).find((pool) => pool.name === name && pool.rootKey !== undefined)
    const pool = existing ?? createPool(context.home, device.deviceId, name, context.now())
    const result = await ifReachable(publishPool(client, device, pool))
    const published = 'answer' in result
    if (values.json) {
      context.printJson({ ...pool, published, created: existing === undefined, join: joinLine(pool) })
      return
    }
    context.stdout.write(fields([['pool', existing === undefined ? name : `${name} (made before)`], ['pool id', pool.poolId], ['root public key', pool.rootPublicKey], ['role', 'admin']], context.stdout.columns))
    if (!published) context.stdout.write(`${(result.problem satisfies MeshError).message}\nthe pool is kept here and published by: mesh start\n`)
    context.stdout.write(`\nInvite a device (while mesh start runs here):\n  mesh pool-invite\nor let it ask, and answer with mesh pool-approve:\n  ${joinLine(pool)}\n`)
  },
})
