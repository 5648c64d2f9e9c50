import { shortId } from '../../../shared/ids.ts'
import { createLogger } from '../../../shared/log.ts'
import { AgentReady } from '../../../shared/schema/ready.ts'
import { loadDevice, parseControlPlaneUrl } from '../../device/device.ts'
import type { CollectiveChoice } from '../../collective/chooser.ts'
import type { CarrierChoice } from '../../carrier/assemble-rank.ts'
import type { WireChoice } from '../../collective/wire-types.ts'
import type { BackendChoice } from '../../engine/choose-backend.ts'
import { defineCommand } from '../command.ts'

export const start = defineCommand({
  name: 'start',
  summary: 'run the agent of this device in the foreground',
  details: 'Connects to the control plane (and tries again until it is there), loads its share of each model it serves, and works until Ctrl-C.',
  options: ['controlPlane', 'listen', 'announce', 'relay', 'discovery', 'backend', 'threads', 'spin', 'stepTimeout', 'collective', 'wire', 'carrier', 'json'],
  examples: ['mesh start', 'mesh start --relay /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW...', 'mesh start --listen /ip4/0.0.0.0/tcp/4100 --threads 4'],
  service: true,
  json: AgentReady,
  run: async (context, values) => {
    const device = loadDevice(context.home)
    const { runDaemon } = await import('../../daemon/daemon.ts') // libp2p and onnxruntime: only this command pays for them
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
      logger: createLogger('agent', values.logLevel),
      signal: context.signal,
      onReady: (info) => {
        if (values.json) context.printJson({ event: 'ready', ...info })
        else context.stdout.write(`agent of ${device.config.name} (${shortId(device.deviceId)}) runs; Ctrl-C ends it\n${info.addresses.map((address) => `  ${address}\n`).join('')}`)
      },
    })
  },
})
