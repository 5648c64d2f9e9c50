import { hostname } from 'node:os'
import { defaultPorts } from '../../../shared/options.ts'
import { UpReady } from '../../../shared/schema/ready.ts'
import { findDevice } from '../../device/device.ts'
import { makeInvite } from '../../device/invites.ts'
import { listPools } from '../../device/pools.ts'
import { rankedLanAddresses } from '../../network/interfaces.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { HostServices } from '../host-services.ts'
import { bold } from '../render.ts'
import { checkName } from '../session.ts'

const defaultNetwork = 'home'
/** The invite that is printed: enough for the friends of an evening. `mesh pool-invite` makes others. */
const inviteUses = 10
const inviteMs = 86400e3

/** Network and name of the device of this home, or those of the device that is to be made. */
const identity = (context: CommandContext, wanted: { readonly networkId?: string; readonly name?: string }): { readonly networkId: string; readonly name: string } => {
  const before = findDevice(context.home)?.config
  return {
    networkId: checkName('--network-id', wanted.networkId ?? before?.networkId ?? defaultNetwork),
    name: checkName('--name', wanted.name ?? before?.name ?? hostname()),
  }
}

interface Reachable {
  /** Addresses of this machine, the likeliest first. */
  readonly hosts: readonly string[]
  readonly controlPlanePort: number
  readonly relay: (host: string) => string
}

/** What another device runs, one command a line, for each pool that this device made; each call makes a new invite. */
const linesFor = (context: CommandContext, networkId: string, { hosts, controlPlanePort, relay }: Reachable): { readonly pool: string; readonly lines: string[] }[] => {
  const [host = '127.0.0.1'] = hosts
  const urls = (hosts.length === 0 ? [host] : hosts).map((one) => `http://${one}:${controlPlanePort}`)
  return listPools(context.home).filter(({ rootKey }) => rootKey !== undefined).map((pool) => ({
    pool: pool.name,
    lines: [
      `mesh init --network-id ${shellWord(networkId)} --name NAME --control-plane http://${host}:${controlPlanePort}`,
      `mesh pool-join --invite ${makeInvite(context.home, pool, { role: 'member', uses: inviteUses, notAfter: Math.floor(context.now() / 1000) * 1000 + inviteMs, urls })}`,
      `mesh start --relay ${relay(host)}`,
    ],
  }))
}

const shellWord = (text: string): string => (/^[\w.@%+:,/-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`)

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })

export const up = defineCommand({
  name: 'up',
  summary: 'host a group on this machine: control plane, relay and agent, kept running together',
  details: 'Makes the device and a pool if there are none, prints what the other devices run, and works without any other server until Ctrl-C. The relay serves the members of the pools that this device is in when it starts. A part that dies is started again. Logs are in MESHNET_HOME/logs.',
  options: ['networkId', 'name', 'host', 'port', 'relayPort', 'discovery', 'backend', 'threads', 'json'],
  defaults: { host: '0.0.0.0', port: defaultPorts.controlPlane },
  examples: ['mesh up', 'mesh up --network-id home --name Desktop', 'mesh up --port 9000 --relay-port 9001'],
  service: true,
  json: UpReady,
  run: async (context, values) => {
    const everywhere = values.host === '0.0.0.0'
    const local = (port: number): string => `http://${everywhere ? '127.0.0.1' : values.host}:${port}`
    const { networkId, name } = identity(context, values)
    const services = new HostServices({
      home: context.home,
      host: values.host,
      controlPlanePort: values.port,
      relayPort: values.relayPort,
      agent: ['--discovery', values.discovery, '--backend', values.backend, '--threads', String(values.threads)],
      logLevel: values.logLevel,
      onEvent: (text) => context.stderr.write(`${text}\n`),
    })
    const interrupted = untilAborted(context.signal)
    try {
      const controlPlanePort = await services.startControlPlane()
      context.signal.throwIfAborted()
      const { device_id: deviceId } = (await services.command('init', '--network-id', networkId, '--name', name, '--control-plane', local(controlPlanePort))) as { device_id: string }
      if (listPools(context.home).length === 0) await services.command('pool-create', '--name', networkId)
      context.signal.throwIfAborted()
      const { relayPort, relayPeer } = await services.startRelay(listPools(context.home).map(({ poolId }) => poolId))
      await services.startAgent()
      const hosts = everywhere ? await rankedLanAddresses() : [values.host]
      const relay = (host: string): string => `/ip4/${host}/tcp/${relayPort}/p2p/${relayPeer}`
      const join = linesFor(context, networkId, { hosts, controlPlanePort, relay })
      if (values.json) context.printJson({ event: 'ready', deviceId, url: local(controlPlanePort), hosts, relay: hosts.map(relay), pids: services.pids(), join })
      else context.stdout.write(readyText(context, { hosts, controlPlanePort, relay }, join))
      await interrupted
    } finally {
      for (const problem of await services.stop()) context.stderr.write(`${problem}\n`)
    }
  },
})

const readyText = (context: CommandContext, { hosts, controlPlanePort }: Reachable, join: readonly { readonly pool: string; readonly lines: readonly string[] }[]): string => {
  const others = hosts.slice(1)
  return [
    `control plane, relay and agent run at ${hosts[0] ?? '127.0.0.1'} (control plane on port ${controlPlanePort}); Ctrl-C ends them\n`,
    hosts.length === 0 ? 'this machine has no address that others can reach: connect it to a network, then run mesh up again\n' : '',
    others.length > 0 ? `further addresses of this machine: ${others.join(', ')}\n` : '',
    ...join.map(({ pool, lines }) => `\n${bold(context, `To join the pool ${pool}, another device runs`)} (with a name of its own)\n${lines.map((line) => `  ${line}\n`).join('')}`),
    `logs: ${context.home.logs}\n`,
  ].join('')
}
