import { Type } from 'typebox'
import { AgentState } from '../../../shared/schema/agent-state.ts'
import { Count, Hex64, Name } from '../../../shared/schema/common.ts'
import { Role } from '../../../shared/schema/pool.ts'
import { shortId } from '../../../shared/ids.ts'
import { exitCodes, MeshError } from '../../../shared/errors.ts'
import { version } from '../../../shared/version.ts'
import { listPools } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { pinOf } from '../pool-pin.ts'
import { ago, counted, fields, validity } from '../render.ts'
import { healthText, lockText, readResources, ResourcesAnswer } from '../resource-view.ts'
import { findService, ServiceRecord, serviceText } from '../service-record.ts'
import { openSession, readAgentState, type Session } from '../session.ts'
import { notAfterOf } from './pool-list.ts'
import { leftOutText } from '../ring-view.ts'

const ControlPlaneView = Type.Object({
  url: Type.String(),
  reachable: Type.Boolean(),
  registered: Type.Boolean({ description: 'it knows this device' }),
  key: Type.Optional(Type.String({ description: 'by which this device knows it' })),
  problem: Type.Optional(Type.String()),
})
type ControlPlaneView = Type.Static<typeof ControlPlaneView>

const StatusAnswer = Type.Object({
  version: Type.String(),
  home: Type.String(),
  device: Type.Object({ deviceId: Hex64, name: Name, networkId: Name }),
  controlPlane: ControlPlaneView,
  pools: Type.Array(
    Type.Object({
      poolId: Hex64,
      name: Name,
      role: Role,
      notAfter: Count,
      controlPlaneKey: Type.Optional(Type.String({ description: 'of the control plane that its admins named' })),
      served: Type.Boolean({ description: 'false: by another control plane than the one of this device' }),
    }),
  ),
  memory: Type.Object({
    phase: ResourcesAnswer.properties.phase,
    memoryBytes: Count,
    degraded: Type.Boolean(),
    missingBytes: Count,
  }),
  /** `mesh up` or `mesh start`. */
  service: Type.Optional(Type.Omit(ServiceRecord, ['mark', 'info'])),
  agent: Type.Optional(AgentState),
})

/** A status command answers whatever is broken: the failure is part of the answer. */
const lookAtControlPlane = async ({ client }: Session): Promise<ControlPlaneView> => {
  try {
    await client.call('getDevice', {})
    return { url: client.url, reachable: true, registered: true, key: client.controlPlaneKey }
  } catch (error) {
    if (!(error instanceof MeshError)) throw error
    const reachable = error.code !== 'controlPlaneUnreachable' && error.code !== 'controlPlaneProtocol'
    return { url: client.url, reachable, registered: false, key: client.controlPlaneKey, problem: error.message }
  }
}

const controlPlaneText = ({ url, registered, key, problem }: ControlPlaneView): string =>
  registered
    ? `${url} (key ${shortId(key ?? 'unknown')}, this device is registered)`
    : problem?.includes(url)
      ? problem
      : `${url}: ${problem ?? ''}`

const agentRows = (state: AgentState | undefined, now: number): [string, string][] => {
  if (state === undefined) return [['agent', 'not running: mesh start -d']]
  return [
    [
      'agent',
      `running since ${ago(state.startedAt, now).replace(/ ago$/, '')}, process ${state.pid}, ` +
        'version ' +
        `${state.version}` +
        (state.version === version ? '' : `; this command is of version ${version}: mesh down, then mesh start -d`),
    ],
    ['peer id', state.peerId],
    ...state.addresses.map((address): [string, string] => ['address', address]),
    [
      'agent link',
      state.controlPlane.connected
        ? `connected to ${state.controlPlane.url}`
        : `not connected to ${state.controlPlane.url} since ${ago(state.controlPlane.since, now)}; ` +
          `it keeps trying${state.controlPlane.problem === undefined ? '' : ` (${state.controlPlane.problem})`}`,
    ],
    ...(state.otherVersions ?? []).map(({ message, hint }): [string, string] => [
      'other version',
      `${message}: ${hint}`,
    ]),
    ...state.relays.map(({ address, reserved, problem }): [string, string] => [
      'relay',
      `${address} (${reserved ? 'slot reserved' : `no slot${problem ? `: ${problem}` : ''}`})`,
    ]),
    ...state.rings.map((ring): [string, string] => [
      'ring',
      `${ring.modelId}: ${ring.state}, rank ${ring.rank} of ${ring.worldSize}`,
    ]),
    ...(state.leftOut ?? []).map(({ modelId, error, retryAt }): [string, string] => [
      'ring',
      `${modelId}: ${leftOutText({ state: 'failed', error, leftOut: { since: retryAt, retryAt } }, now)}; ` +
        `mesh join-ring --model-id ${modelId} tries at once`,
    ]),
    ['jobs', `${state.jobs.running} running, ${state.jobs.done} done, ${state.jobs.failed} failed`],
  ]
}

/** A pool whose admins named another control plane than the one that this device speaks to. */
const unservedText = ({ controlPlaneKey = '' }: { readonly controlPlaneKey?: string }): string =>
  `served by the control plane with the key ${shortId(controlPlaneKey)}, which this device has not found: ` +
  'mesh start --control-plane URL names it'

export const status = defineCommand({
  name: 'status',
  summary: 'this device at a glance: agent, control plane, pools, rings',
  details: 'Ends with 0 when the agent of this device runs, with 3 when it does not.',
  options: ['controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh status', 'mesh status --json'],
  json: StatusAnswer,
  run: async (context, values) => {
    const session = openSession(context, values)
    const { device } = session
    const now = context.now()
    const state = readAgentState(context.home)
    const service = findService(context.home)
    const controlPlane = await lookAtControlPlane(session)
    const pools = listPools(context.home).map((pool) => {
      const controlPlaneKey = pinOf(context, pool.poolId)?.controlPlaneId
      return { ...pool, controlPlaneKey, served: (controlPlaneKey ?? controlPlane.key) === controlPlane.key }
    })
    const { standing, clock } = readResources(context.home, device)
    if (values.json) {
      context.printJson({
        version,
        home: context.home.root,
        controlPlane,
        device: { deviceId: device.deviceId, ...device.config },
        pools: pools.map((pool) => ({ ...pool, notAfter: notAfterOf(pool, now) })),
        memory: { ...standing, degraded: standing.missingBytes > 0 },
        service,
        agent: state,
      })
      return state === undefined ? exitCodes.setup : exitCodes.ok
    }
    context.stdout.write(
      fields(
        [
          ['device', `${device.config.name} (${shortId(device.deviceId)}) in network ${device.config.networkId}`],
          ['home', context.home.root],
          ['control plane', controlPlaneText(controlPlane)],
          [
            'pools',
            pools.length === 0
              ? 'none: mesh pool-create --name home'
              : `${counted(pools.length, 'pool')}: ` +
                pools.map((pool) => `${pool.name} (${pool.role}, ${validity(notAfterOf(pool, now), now)})`).join(', '),
          ],
          ...pools.filter(({ served }) => !served).map((pool): [string, string] => [pool.name, unservedText(pool)]),
          ...(standing.phase === 'unlocked'
            ? []
            : [['memory', `${lockText(standing, clock)}; ${healthText(standing)}`] as const]),
          ...(service === undefined
            ? []
            : [
                [
                  'runs',
                  `${serviceText(service)}, since ${ago(service.startedAt, now).replace(/ ago$/, '')}; ` +
                    'mesh down ends it',
                ] as const,
              ]),
          ...agentRows(state, now),
        ],
        context.stdout.columns,
      ),
    )
    return state === undefined ? exitCodes.setup : exitCodes.ok
  },
})
