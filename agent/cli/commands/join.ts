import { hostname } from 'node:os'
import { MeshError } from '../../../shared/errors.ts'
import { decodeInvite, type Invite } from '../../../shared/identity/invite.ts'
import { verifyCertificate } from '../../../shared/identity/pool-certificate.ts'
import { type ControlPlaneId, shortId } from '../../../shared/ids.ts'
import type { AgentState } from '../../../shared/schema/agent-state.ts'
import { ownCommand } from '../../../shared/options.ts'
import { type AgentReady, JoinAnswer } from '../../../shared/schema/ready.ts'
import { defaultNetwork, findDevice, type LocalDevice, parseControlPlaneUrl, saveDevice } from '../../device/device.ts'
import { findPool, listPools, type LocalPool } from '../../device/pools.ts'
import { detach } from '../background.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { confirmChange } from '../confirm-change.ts'
import { askLine } from '../hosting.ts'
import { argumentsOf } from '../option-text.ts'
import { firstThatAnswers, inviteTarget, joinPool } from '../join-pool.ts'
import { inviteLine } from '../passphrase.ts'
import { fields, validity } from '../render.ts'
import { agentOptions, agentText, runAgent } from '../run-agent.ts'
import { checkNamedModel, servePool } from '../serve-pool.ts'
import { checkName, clientOf, controlPlaneKeyIn, type ControlPlaneValues, readAgentState } from '../session.ts'

/** The membership that this device holds already and can show. */
const heldMembership = (
  context: CommandContext,
  { poolId, rootPublicKey }: Invite,
): { readonly pool: LocalPool; readonly notAfter: number } | undefined => {
  const pool = findPool(context.home, poolId)
  try {
    return pool && { pool, notAfter: verifyCertificate(pool.certificate, rootPublicKey, context.now()).notAfter }
  } catch {
    return undefined // over, or not valid: a new one is asked for
  }
}

interface Place {
  readonly url: string
  /** Absent: whoever answers there. */
  readonly controlPlaneKey?: ControlPlaneId
}

/**
 * Where the control plane of the pool is: as told, else the one that other pools of this device need, else the first
 * of the invite that answers. @throws MeshError `controlPlaneUnreachable` | `controlPlaneChanged` | `poolElsewhere` |
 * `usage`
 */
const findControlPlane = async (
  context: CommandContext,
  invite: Invite,
  before: LocalDevice | undefined,
  told: ControlPlaneValues,
): Promise<Place> => {
  const known = before?.config
  const controlPlaneKey = controlPlaneKeyIn(told) ?? invite.controlPlaneKey ?? known?.controlPlaneKey
  if (told.controlPlane !== undefined) return { url: parseControlPlaneUrl(told.controlPlane), controlPlaneKey }
  const isBound = listPools(context.home).some(({ poolId }) => poolId !== invite.poolId)
  if (known && isBound) {
    const isOther =
      controlPlaneKey !== undefined && known.controlPlaneKey !== undefined && controlPlaneKey !== known.controlPlaneKey
    if (isOther) throw new MeshError('poolElsewhere', { url: known.controlPlaneUrl, other: invite.urls[0] ?? 'URL' })
    return { url: known.controlPlaneUrl, controlPlaneKey }
  }
  const urls = [...new Set([...invite.urls, ...(known ? [known.controlPlaneUrl] : [])])]
  return { url: await firstThatAnswers(context, urls, controlPlaneKey), controlPlaneKey }
}

/** The other pools of this device are at another control plane than this one. */
const elsewhere = (error: unknown, url: string, { urls }: Invite): unknown =>
  error instanceof MeshError && error.code === 'notFound' && !urls.includes(url)
    ? new MeshError('poolElsewhere', { url, other: urls[0] ?? 'URL' }, error)
    : error

/** What was set up. */
type Joined = Omit<JoinAnswer, 'event' | 'peerId' | 'addresses'>

interface Wanted {
  readonly name?: string
  readonly yes: boolean
  readonly controlPlane?: string
  readonly controlPlaneKey?: string
  readonly wait: number
  readonly modelId: string
  readonly modelDir?: string
  readonly quant: string
  readonly noServe: boolean
}

/** Device, membership and rings. What exists is changed only once the pool let this device in. */
const setUp = async (context: CommandContext, line: string, values: Wanted): Promise<Joined> => {
  const { home } = context
  const held = heldMembership(context, decodeInvite(line))
  // a member may repeat the command for as long as it likes, whatever became of the invite
  const invite = held ? decodeInvite(line) : inviteTarget(line, context.now()).invite
  const before = findDevice(home)
  const name = checkName('--name', values.name ?? before?.config.name ?? hostname())
  if (before) await confirmChange(context, before.config, { name }, values.yes)
  await checkNamedModel(context, values)
  const { url, controlPlaneKey } = await findControlPlane(context, invite, before, values)
  const device = before ?? saveDevice(home, { networkId: defaultNetwork, name, controlPlaneUrl: url, controlPlaneKey })
  const client = clientOf(context, { ...device, config: { ...device.config, name } }, { url, controlPlaneKey })
  const target = { poolId: invite.poolId, rootPublicKey: invite.rootPublicKey, invite }
  const { pool, notAfter, published } = await joinPool({ context, client, device, target, waitMs: values.wait }).catch(
    (error: unknown) => {
      throw elsewhere(error, url, invite)
    },
  )
  const config = {
    networkId: before?.config.networkId ?? published?.networkId ?? defaultNetwork,
    name,
    controlPlaneUrl: url,
    controlPlaneKey: client.controlPlaneKey,
  }
  const ready = saveDevice(home, config)
  const { models, notes } = await servePool(context, { device: ready, client }, pool.poolId, values)
  return {
    deviceId: ready.deviceId,
    name,
    controlPlane: url,
    poolId: pool.poolId,
    pool: pool.name,
    role: pool.role,
    notAfter,
    serving: models,
    notes,
  }
}

const joinedText = (
  context: CommandContext,
  { deviceId, name, controlPlane, pool, role, notAfter, serving, notes }: Joined,
): string =>
  fields(
    [
      ['device', `${name} (${shortId(deviceId)})`],
      ['control plane', controlPlane],
      ['pool', `${pool} (${role}, ${validity(notAfter, context.now())})`],
      ['serves', serving.join(', ') || 'no model'],
    ],
    context.stdout.columns,
  ) + notes.map((note) => `note: ${note}\n`).join('')

/** How somebody gets an answer now. */
const askText = ({ serving }: Joined): string => `ask with: ${askLine(serving[0])}\n`

const runningText = (joined: Joined, { pid, controlPlane: { url } }: AgentState): string => {
  const mesh = ownCommand()
  const other = `, but for the control plane at ${url}; ${mesh} down, then ${mesh} start -d`
  return `its agent runs already, process ${pid}${url === joined.controlPlane ? '' : other}\n${askText(joined)}`
}

export const join = defineCommand({
  name: 'join',
  summary: 'join a group by an invite: sets this device up, serves what the pool serves, and runs the agent',
  details:
    'The invite is the line that mesh up or mesh pool-invite printed; ' +
    'the agent of the device that made it must be running. Does what mesh init, mesh pool-join, ' +
    'mesh join-ring and mesh start do one by one; repeating it is harmless. ' +
    'A model whose files are not on this device is left to the others. Works until Ctrl-C, ' +
    'or with -d in the background.',
  needs: ['agent'],
  options: [
    'invite',
    'name',
    'yes',
    'modelId',
    'modelDir',
    'quant',
    'noServe',
    'noStart',
    'detach',
    'wait',
    ...agentOptions,
    'json',
  ],
  required: ['invite'],
  bare: 'invite',
  examples: [
    'mesh join mesh-invite:hgFYI... -d',
    'mesh join mesh-invite:hgFYI... --name Laptop',
    'mesh join mesh-invite:hgFYI... --no-serve --no-start',
  ],
  service: true,
  json: JoinAnswer,
  run: async (context, values) => {
    const joined = await setUp(context, await inviteLine(context, values.invite), values)
    const { home, stdout } = context
    const running = readAgentState(home)
    if (!values.json) stdout.write(joinedText(context, joined))
    const show = (agent: AgentReady | undefined, rest: string): void => {
      if (values.json)
        context.printJson({
          ...joined,
          peerId: agent?.peerId,
          addresses: agent?.addresses,
          event: agent ? 'ready' : 'joined',
        })
      else stdout.write(rest)
    }
    if (values.noStart || running) {
      show(undefined, running ? runningText(joined, running) : `${ownCommand()} start -d runs its agent\n`)
      return
    }
    const showAgent = (info: AgentReady): void => show(info, agentText(context, info, values.detach) + askText(joined))
    if (values.detach)
      return await detach(context, {
        command: 'start',
        args: ['start', ...argumentsOf(context, [...agentOptions, 'logLevel'], values)],
        show: showAgent,
      })
    await runAgent(context, values, showAgent)
  },
})
