import { Type } from 'typebox'
import type { Client } from '../../../shared/api/client.ts'
import { controlPlaneAt } from '../../../shared/api/contact.ts'
import { checkKey } from '../../../shared/api/pinned-tls.ts'
import { MeshError } from '../../../shared/errors.ts'
import type { ControlPlanePin } from '../../../shared/identity/control-plane-pin.ts'
import { type ControlPlaneId, shortId } from '../../../shared/ids.ts'
import { ownCommand } from '../../../shared/options.ts'
import { Hex64, Name } from '../../../shared/schema/common.ts'
import { publishPool, registerDevice } from '../../device/control-plane.ts'
import {
  loadDevice,
  type LocalDevice,
  parseControlPlaneUrl,
  readCapabilities,
  turnToControlPlane,
} from '../../device/device.ts'
import { listPools, type LocalPool, needSigner, selectPool } from '../../device/pools.ts'
import { Revocations } from '../../device/revocations.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { isConfirmed } from '../confirm-change.ts'
import { pinOf, pinPool } from '../pool-pin.ts'
import { fields } from '../render.ts'
import { clientOf, controlPlaneKeyIn, openSession } from '../session.ts'

interface Place {
  readonly url: string
  readonly key: ControlPlaneId
}

/**
 * Who answers there, if it is the one that is meant.
 * @throws MeshError `controlPlaneUnreachable` | `controlPlaneChanged`
 */
const meet = async (
  { fetch: send, signal }: CommandContext,
  text: string,
  wanted: ControlPlaneId | undefined,
): Promise<Place> => {
  const url = parseControlPlaneUrl(text)
  const key = await controlPlaneAt(url, { fetch: send, signal: AbortSignal.any([signal, AbortSignal.timeout(meetMs)]) })
  checkKey(url, wanted ?? key, key)
  return { url, key }
}

/** Milliseconds that the new control plane has to say who it is. */
const meetMs = 10_000

/** @throws MeshError `usage` where nobody says that the key is the right one */
const confirm = async (
  context: CommandContext,
  { name }: LocalPool,
  { url, key }: Place,
  isSure: boolean,
): Promise<void> => {
  if (
    isSure ||
    (await isConfirmed(
      context,
      `The control plane at ${url} has the key\n  ${key}\nIts machine prints the same: mesh control-plane-key. ` +
        `Move pool ${name} there?`,
    ))
  )
    return
  throw new MeshError('usage', {
    problem:
      `the control plane at ${url} has the key ${key}: where that is the one that mesh control-plane-key prints on ` +
      `its machine, repeat the command with --control-plane-key ${key}`,
  })
}

/** What the new control plane has to know before it can serve the pool. @throws MeshError of the client */
const introduce = async (
  { home, now }: CommandContext,
  client: Client,
  device: LocalDevice,
  pool: LocalPool,
): Promise<void> => {
  await registerDevice(client, device, readCapabilities())
  await publishPool(client, device, pool)
  const list = new Revocations(home, now).listOf(pool.poolId)
  if (list === undefined) return
  await client
    .call('publishRevocations', { params: { poolId: pool.poolId }, body: { list: list.text } })
    .catch((error: unknown) => {
      if (!(error instanceof MeshError) || error.code !== 'revocationsInvalid') throw error // it has a newer one
    })
}

/** Other pools of this device, which can speak to one control plane at a time, that are served elsewhere. */
const left = (context: CommandContext, { key }: Place): LocalPool[] =>
  listPools(context.home).filter(({ poolId }) => (pinOf(context, poolId)?.controlPlaneId ?? key) !== key)

const text = (context: CommandContext, { name }: LocalPool, { url, key }: Place, { number }: ControlPlanePin): string =>
  fields(
    [
      ['pool', name],
      ['control plane', url],
      ['key', key],
      ['statement', `number ${number}`],
    ],
    context.stdout.columns,
  ) +
  'the agents of all members turn to it by themselves, as soon as the old control plane or another member tells ' +
  'them; a database that is new there knows no rings, keys and credits of before\n'

export const poolMove = defineCommand({
  name: 'pool-move',
  summary: 'move a pool to another control plane, or to one with a new key',
  details:
    'Signs, as an admin, by which key the control plane of the pool is known from now on. ' +
    'Agents of members hear it from the old control plane and from each other, ' +
    'and speak to no other one any more. Where the key stays the same (mesh control-plane-export-key), ' +
    'nothing needs to be signed.',
  options: ['controlPlane', 'controlPlaneKey', 'poolId', 'yes', 'json'],
  required: ['controlPlane'],
  examples: ['mesh pool-move --control-plane https://192.168.1.30:8080'],
  json: Type.Object({
    poolId: Hex64,
    name: Name,
    controlPlane: Type.String(),
    controlPlaneKey: Hex64,
    number: Type.Integer({ minimum: 1, description: 'of the statement; it grows with every move' }),
    told: Type.Boolean({ description: 'the control plane of before heard of it' }),
  }),
  run: async (context, values) => {
    const device = loadDevice(context.home)
    const pool = selectPool(context.home, values.poolId)
    const signer = needSigner(pool, device.key)
    const { client: before } = openSession(context)
    const place = await meet(context, values.controlPlane, controlPlaneKeyIn(values))
    await confirm(context, pool, place, values.yes || values.controlPlaneKey !== undefined)
    const client = clientOf(context, device, { url: place.url, controlPlaneKey: place.key })
    await introduce(context, client, device, pool)
    const { pin, problem } = await pinPool(context, {
      pool,
      signer,
      controlPlaneId: place.key,
      client,
      ...(before.url === place.url ? {} : { before }),
    })
    const others = left(context, place)
    if (others.length === 0) turnToControlPlane(context.home, place)
    if (values.json) {
      return context.printJson({
        poolId: pool.poolId,
        name: pool.name,
        controlPlane: place.url,
        controlPlaneKey: place.key,
        number: pin.number,
        told: problem === undefined,
      })
    }
    context.stdout.write(text(context, pool, place, pin))
    if (problem) context.stderr.write(`note: the control plane of before did not hear of it: ${problem.message}\n`)
    for (const other of others) {
      context.stderr.write(
        `note: pool ${other.name} stays with another control plane, and this device speaks to one at a time: ` +
          `${ownCommand()} pool-move --pool-id ${shortId(other.poolId)} --control-plane ${place.url} moves it too\n`,
      )
    }
  },
})
