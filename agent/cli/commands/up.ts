import { hostname } from 'node:os'
import { secureUrl } from '../../../shared/control-plane-url.ts'
import { MeshError } from '../../../shared/errors.ts'
import { untilAborted } from '../../../shared/lifecycle.ts'
import { defaultPorts, ownCommand } from '../../../shared/options.ts'
import { UpReady } from '../../../shared/schema/ready.ts'
import { publishPool, registerDevice } from '../../device/control-plane.ts'
import {
  defaultControlPlaneUrl,
  defaultNetwork,
  type DeviceConfig,
  findDevice,
  type LocalDevice,
  readCapabilities,
  saveDevice,
} from '../../device/device.ts'
import { createPool, listPools } from '../../device/pools.ts'
import { rankedLanAddresses } from '../../device/interfaces.ts'
import { detach } from '../background.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { confirmChange } from '../confirm-change.ts'
import { HostServices } from '../host-services.ts'
import { checkHosting, groupInvites, hostOptions, joinLines } from '../hosting.ts'
import { argumentsOf } from '../option-text.ts'
import { pinNewPool } from '../pool-pin.ts'
import { bold, counted, validity } from '../render.ts'
import { claimService } from '../service-record.ts'
import { checkNamedModel, type Served, servePool, type ServeWish } from '../serve-pool.ts'
import { checkName, clientOf, type Session } from '../session.ts'

interface Identity {
  /** The device of this home; absent where none is set up. */
  readonly before?: LocalDevice
  /** What it is called from now on. */
  readonly config: Omit<DeviceConfig, 'controlPlaneUrl' | 'controlPlaneKey'>
}

/** @throws MeshError `usage` | `alreadyInitialised` (another network) | `hostedElsewhere` */
const identify = (
  { home }: CommandContext,
  wanted: { readonly networkId?: string; readonly name?: string },
): Identity => {
  const before = findDevice(home)
  const networkId = checkName('--network-id', wanted.networkId ?? before?.config.networkId ?? defaultNetwork)
  const name = checkName('--name', wanted.name ?? before?.config.name ?? hostname())
  if (before === undefined) return { config: { networkId, name } }
  if (before.config.networkId !== networkId)
    throw new MeshError('alreadyInitialised', { ...before.config, home: home.root })
  checkHosting(home, before)
  return { before, config: { networkId, name } }
}

/** The control plane learns of the device and of the pools it made. */
const register = async (context: CommandContext, device: LocalDevice): Promise<Session> => {
  const client = clientOf(context, device)
  await registerDevice(client, device, readCapabilities())
  for (const pool of listPools(context.home)) {
    if (pool.rootKey === undefined) continue
    await publishPool(client, device, pool)
    await pinNewPool(context, { pool, signer: pool.rootKey, client })
  }
  return { device, client }
}

const plainHttpNote =
  'plain HTTP is served to other machines (--plain-http): what programs send without TLS can be read and changed on the way'

const serveAll = async (context: CommandContext, session: Session, wish: ServeWish): Promise<Served> => {
  const all: Served[] = []
  for (const { poolId } of listPools(context.home)) all.push(await servePool(context, session, poolId, wish))
  return { models: [...new Set(all.flatMap(({ models }) => models))], notes: all.flatMap(({ notes }) => notes) }
}

export const up = defineCommand({
  name: 'up',
  summary: 'host a group on this machine: control plane, relay and agent, kept running together',
  details:
    'Makes the device and a pool if there are none, serves a model (the bundled one, --model-id, or what this device served before), prints what the other devices run, and works without any other server until Ctrl-C or mesh down. With -d it returns when all of it runs. The relay serves the members of the pools that this device is in when it starts. A part that dies is started again. Logs are in MESHNET_HOME/logs (mesh logs).',
  options: [...hostOptions, 'detach', 'json'],
  defaults: { host: '0.0.0.0', port: defaultPorts.controlPlane },
  examples: [
    'mesh up',
    'mesh up -d',
    'mesh up --name Desktop --model-id llama --model-dir ~/models/llama',
    'mesh up --port 9000 --relay-port 9001',
  ],
  service: true,
  json: UpReady,
  run: async (context, values) => {
    const { home } = context
    const show = (info: UpReady): void => {
      if (values.json) context.printJson(info)
      else context.stdout.write(readyText(context, info, values.detach))
    }
    if (values.detach && context.background === undefined)
      return await detach(context, { command: 'up', args: ['up', ...context.rawArguments], show })
    const everywhere = values.host === '0.0.0.0'
    const { before, config } = identify(context, values)
    if (before) await confirmChange(context, before.config, config, values.yes)
    await checkNamedModel(context, values)
    const claim = await claimService(context, 'up')
    const services = new HostServices({
      home,
      host: values.host,
      controlPlanePort: values.port,
      relayPort: values.relayPort,
      controlPlane: [
        '--keep-text',
        `${values.keepText}ms`,
        ...argumentsOf(context, ['plainHttp', 'tlsCert', 'tlsKey'], values),
      ],
      agent: ['--discovery', values.discovery, '--backend', values.backend, '--threads', String(values.threads)],
      logLevel: values.logLevel,
      onEvent: (text) => context.stderr.write(`${text}\n`),
    })
    const relayAt = (
      host: string,
      { relayPort, relayPeer }: { readonly relayPort: number; readonly relayPeer: string },
    ): string => `/ip4/${host}/tcp/${relayPort}/p2p/${relayPeer}`
    try {
      const known = before ?? saveDevice(home, { ...config, controlPlaneUrl: defaultControlPlaneUrl })
      if (listPools(home).length === 0) createPool(home, known.deviceId, config.networkId, context.now())
      const relay = await services.startRelay(listPools(home).map(({ poolId }) => poolId))
      context.signal.throwIfAborted()
      const { controlPlanePort, controlPlaneKey } = await services.startControlPlane(relayAt(values.host, relay))
      context.signal.throwIfAborted()
      const url = secureUrl(`http://${everywhere ? '127.0.0.1' : values.host}:${controlPlanePort}`)
      const own = { ...config, controlPlaneUrl: url, controlPlaneKey }
      const session = await register(context, { ...known, config: own })
      await services.startAgent(url, controlPlaneKey)
      const { models, notes: missing } = await serveAll(context, session, values)
      const notes = values.plainHttp ? [plainHttpNote, ...missing] : missing
      // all of it runs: only now this is the control plane that the device keeps
      saveDevice(home, own)
      const hosts = everywhere ? await rankedLanAddresses() : [values.host]
      const urls = (hosts.length === 0 ? ['127.0.0.1'] : hosts).map((host) =>
        secureUrl(`http://${host}:${controlPlanePort}`),
      )
      const info: UpReady = {
        event: 'ready',
        deviceId: known.deviceId,
        url,
        hosts,
        relay: hosts.map((host) => relayAt(host, relay)),
        pids: services.pids(),
        serving: models,
        notes,
        join: groupInvites(home, { urls, controlPlaneKey }, context.now()).map(
          ({ pool, line, usesLeft, notAfter }) => ({ pool, lines: joinLines(line, models[0]), usesLeft, notAfter }),
        ),
      }
      show(info)
      claim.ready(info)
      await untilAborted(context.signal)
    } finally {
      for (const problem of await services.stop()) context.stderr.write(`${problem}\n`)
      claim.release()
    }
  },
})

const joinText = (
  context: CommandContext,
  { pool, lines: [join, ask], usesLeft, notAfter }: UpReady['join'][number],
): string =>
  [
    `\n${bold(context, `To join the pool ${pool}, another device runs`)} (${counted(usesLeft, 'device')}, valid for ${validity(notAfter, context.now())})\n  ${join}\n`,
    `${bold(context, 'and asks, as this one can')}\n  ${ask}\n`,
  ].join('')

const readyText = (
  context: CommandContext,
  { hosts, url, serving, notes, join }: UpReady,
  background: boolean,
): string =>
  [
    `control plane, relay and agent run at ${hosts[0] ?? '127.0.0.1'} (control plane on port ${new URL(url).port}); ${background ? `${ownCommand()} down` : 'Ctrl-C'} ends them\n`,
    hosts.length === 0
      ? 'this machine has no address that others can reach: connect it to a network, then run mesh up again\n'
      : '',
    hosts.length > 1 ? `further addresses of this machine: ${hosts.slice(1).join(', ')}\n` : '',
    serving.length === 0
      ? `this device serves no model: ${ownCommand()} join-ring --model-id tiny-story\n`
      : `this device serves ${serving.join(', ')}\n`,
    ...notes.map((note) => `note: ${note}\n`),
    ...join.map((one) => joinText(context, one)),
    `\nlogs: ${ownCommand()} logs\n`,
  ].join('')
