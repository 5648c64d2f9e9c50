import { Type } from 'typebox'
import { verifyCertificate } from '../../../shared/identity/pool-certificate.ts'
import { MeshError } from '../../../shared/errors.ts'
import { Count, Hex64, Name } from '../../../shared/schema/common.ts'
import { Role } from '../../../shared/schema/pool.ts'
import { listPools, type LocalPool } from '../../device/pools.ts'
import { Revocations } from '../../device/revocations.ts'
import { defineCommand } from '../command.ts'
import { table, validity } from '../render.ts'
import { ifReachable, openSession } from '../session.ts'
import { wrapLines } from '../wrap.ts'

/** When the certificate ends, in milliseconds; 0 for one that has expired or is damaged. */
export const notAfterOf = (pool: LocalPool, now: number): number => {
  try {
    return verifyCertificate(pool.certificate, Buffer.from(pool.rootPublicKey, 'hex'), now).notAfter
  } catch (error) {
    if (error instanceof MeshError) return 0
    throw error
  }
}

export const poolList = defineCommand({
  name: 'pool-list',
  summary: 'pools of this device, with the values that others need to join',
  options: ['controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh pool-list', 'mesh pool-list --json'],
  json: Type.Array(
    Type.Object({
      poolId: Hex64,
      name: Name,
      role: Role,
      rootPublicKey: Hex64,
      notAfter: Type.Integer({
        minimum: 0,
        description: 'when the certificate of this device ends; 0: it has, or is damaged',
      }),
      removed: Type.Integer({ minimum: 0, description: 'devices that were removed' }),
      members: Type.Optional(Count),
      online: Type.Optional(Count),
    }),
  ),
  run: async (context, values) => {
    const { client } = openSession(context, values)
    const local = listPools(context.home)
    const result = local.length === 0 ? { answer: [] } : await ifReachable(client.call('listPools', {}))
    const known = new Map('answer' in result ? result.answer.map((pool) => [pool.poolId, pool]) : [])
    const revocations = new Revocations(context.home, context.now)
    const pools = local.map((pool) => ({
      ...pool,
      removed: revocations.listOf(pool.poolId)?.removed.size ?? 0,
      notAfter: notAfterOf(pool, context.now()),
      members: known.get(pool.poolId)?.members,
      online: known.get(pool.poolId)?.online,
    }))
    if (values.json) {
      context.printJson(pools)
      return
    }
    if (pools.length === 0) {
      context.stdout.write('this device is in no pool yet: mesh pool-create --name home\n')
      return
    }
    const { columns } = context.stdout
    const count = (value: number | undefined): string => (value === undefined ? '?' : String(value))
    for (const pool of pools) {
      const row = [
        pool.name,
        pool.role,
        count(pool.members),
        count(pool.online),
        validity(pool.notAfter, context.now()),
      ]
      context.stdout.write(table(['name', 'role', 'members', 'online', 'valid for'], [row], { columns }))
      for (const line of [`--pool-id ${pool.poolId}`, `--pool-root-pubkey ${pool.rootPublicKey}`]) {
        context.stdout.write(
          wrapLines(line, columns - 2, { hanging: 2, whole: true })
            .map((part) => `  ${part}\n`)
            .join(''),
        )
      }
    }
    if ('problem' in result) context.stderr.write(`note: ${result.problem.message}\n`)
  },
})
