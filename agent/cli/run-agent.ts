/** The agent of this home, as the commands that start it run it. */
import { shortId } from '../../shared/ids.ts'
import { createLogger } from '../../shared/log.ts'
import { type OptionName, type OptionValues, ownCommand } from '../../shared/options.ts'
import type { CarrierChoice } from '../carrier/assemble-rank.ts'
import type { CollectiveChoice } from '../collective/chooser.ts'
import type { WireChoice } from '../collective/wire-types.ts'
import { loadDevice, parseControlPlaneUrl } from '../device/device.ts'
import type { BackendChoice } from '../engine/choose-backend.ts'
import type { CommandContext } from './command.ts'

/** Options of `mesh start` that say how the agent runs. */
export const agentOptions = ['controlPlane', 'listen', 'announce', 'relay', 'discovery', 'backend', 'threads', 'spin', 'stepTimeout', 'collective', 'wire', 'carrier', 'maxShards'] as const satisfies readonly OptionName[]

export type AgentValues = OptionValues<(typeof agentOptions)[number] | 'logLevel'>

export interface AgentInfo {
  readonly deviceId: string
  readonly peerId: string
  readonly addresses: readonly string[]
}

/** Runs until the signal. @throws MeshError as `runDaemon` | `usage` */
export const runAgent = async (context: CommandContext, values: AgentValues, onReady: (info: AgentInfo) => void): Promise<void> => {
  const { runDaemon } = await import('../daemon/daemon.ts') // libp2p and onnxruntime: only the agent pays for them
  await runDaemon({
    home: context.home,
    controlPlaneUrl: values.controlPlane === undefined ? undefined : parseControlPlaneUrl(values.controlPlane),
    listen: values.listen,
    relays: values.relay,
    announce: values.announce,
    discovery: values.discovery as 'lan' | 'none',
    backend: values.backend as BackendChoice,
    threads: values.threads,
    spinMs: values.spin,
    stepTimeoutMs: values.stepTimeout,
    collective: { algorithm: values.collective as CollectiveChoice, wire: values.wire as WireChoice },
    carrier: values.carrier as CarrierChoice,
    maxShardBytes: values.maxShards,
    logger: createLogger('agent', values.logLevel, context.logDestination),
    signal: context.signal,
    onReady,
  })
}

/** What people read when it runs. */
export const agentText = (context: Pick<CommandContext, 'home'>, { addresses, deviceId }: AgentInfo, background: boolean): string =>
  `agent of ${loadDevice(context.home).config.name} (${shortId(deviceId)}) runs${background ? ` in the background; ${ownCommand()} down ends it, ${ownCommand()} logs shows what it does` : '; Ctrl-C ends it'}\n${addresses.map((address) => `  ${address}\n`).join('')}`
