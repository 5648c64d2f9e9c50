/** The agent of this home, as the commands that start it run it. */
import { shortId } from '../../shared/ids.ts'
import { createLogger } from '../../shared/log.ts'
import { type OptionName, type OptionValues, ownCommand } from '../../shared/options.ts'
import type { AgentReady } from '../../shared/schema/ready.ts'
import type { DaemonOptions } from '../daemon/daemon.ts'
import { loadDevice, parseControlPlaneUrl } from '../device/device.ts'
import type { CommandContext } from './command.ts'
import { claimService } from './service-record.ts'
import { controlPlaneKeyIn } from './session.ts'

/** Options of `mesh start` that say how the agent runs. */
export const agentOptions = [
  'controlPlane',
  'controlPlaneKey',
  'listen',
  'announce',
  'relay',
  'discovery',
  'backend',
  'threads',
  'spin',
  'stepTimeout',
  'collective',
  'wire',
  'carrier',
  'maxShards',
] as const satisfies readonly OptionName[]

export type AgentValues = OptionValues<(typeof agentOptions)[number] | 'logLevel'>

const run = async (context: CommandContext, values: AgentValues, onReady: DaemonOptions['onReady']): Promise<void> => {
  const { runDaemon } = await import('../daemon/daemon.ts') // libp2p and onnxruntime: only the agent pays for them
  await runDaemon({
    home: context.home,
    controlPlaneUrl: values.controlPlane === undefined ? undefined : parseControlPlaneUrl(values.controlPlane),
    controlPlaneKey: controlPlaneKeyIn(values),
    listen: values.listen,
    relays: values.relay,
    announce: values.announce,
    discovery: values.discovery as 'lan' | 'none',
    backend: values.backend as DaemonOptions['backend'],
    threads: values.threads,
    spinMs: values.spin,
    stepTimeoutMs: values.stepTimeout,
    collective: { algorithm: values.collective, wire: values.wire } as DaemonOptions['collective'],
    carrier: values.carrier as DaemonOptions['carrier'],
    maxShardBytes: values.maxShards,
    logger: createLogger('agent', values.logLevel, context.logDestination),
    signal: context.signal,
    onReady,
  })
}

/**
 * Runs until the signal; it is what runs from this home meanwhile.
 * @param show told when the agent is ready
 * @throws MeshError as `runDaemon` | `usage` | `agentAlreadyRunning`
 */
export const runAgent = async (
  context: CommandContext,
  values: AgentValues,
  show: (info: AgentReady) => void,
): Promise<void> => {
  const claim = await claimService(context, 'start')
  try {
    await run(context, values, (agent) => {
      const info: AgentReady = { event: 'ready', ...agent, addresses: [...agent.addresses] }
      show(info)
      claim.ready(info)
    })
  } finally {
    claim.release()
  }
}

/** What people read when it runs. */
export const agentText = (
  context: Pick<CommandContext, 'home'>,
  { addresses, deviceId }: Pick<AgentReady, 'addresses' | 'deviceId'>,
  background: boolean,
): string => {
  const { name } = loadDevice(context.home).config
  const mesh = ownCommand()
  const held = background
    ? ` in the background; ${mesh} down ends it, ${mesh} logs shows what it does`
    : '; Ctrl-C ends it'
  return [
    `agent of ${name} (${shortId(deviceId)}) runs${held}`,
    ...addresses.map((address) => `  ${address}`),
    '',
  ].join('\n')
}
