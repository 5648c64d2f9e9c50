/**
 * A group that this machine hosts: the device and its pools, the services in their order, and what others run to join.
 */
import { hostname } from 'node:os'
import { secureUrl } from '../../shared/control-plane-url.ts'
import { MeshError } from '../../shared/errors.ts'
import type { OptionValues } from '../../shared/options.ts'
import type { UpReady } from '../../shared/schema/ready.ts'
import { publishPool, registerDevice } from '../device/control-plane.ts'
import {
  defaultControlPlaneUrl,
  defaultNetwork,
  type DeviceConfig,
  findDevice,
  type LocalDevice,
  readCapabilities,
  saveDevice,
} from '../device/device.ts'
import { rankedLanAddresses } from '../device/interfaces.ts'
import { createPool, listPools } from '../device/pools.ts'
import type { CommandContext } from './command.ts'
import type { HostServices } from './host-services.ts'
import { checkHosting, groupInvites, joinLines } from './hosting.ts'
import { pinNewPool } from './pool-pin.ts'
import { type Served, servePool, type ServeIntent } from './serve-pool.ts'
import { checkName, clientOf, type Session } from './session.ts'

export interface HostIdentity {
  /** The device of this home; absent where none is set up. */
  readonly before?: LocalDevice
  /** What it is called from now on. */
  readonly config: Omit<DeviceConfig, 'controlPlaneUrl' | 'controlPlaneKey'>
}

/**
 * The device that hosts, new or as it is.
 * @throws MeshError `usage` | `alreadyInitialised` (another network) | `hostedElsewhere`
 */
export const identify = (
  { home }: CommandContext,
  wanted: { readonly networkId?: string; readonly name?: string },
): HostIdentity => {
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

/** Listens at every address of the machine. */
const everywhere = '0.0.0.0'

const plainHttpNote =
  'plain HTTP is served to other machines (--plain-http): ' +
  'what programs send without TLS can be read and changed on the way'

const serveAll = async (context: CommandContext, session: Session, intent: ServeIntent): Promise<Served> => {
  const all: Served[] = []
  for (const { poolId } of listPools(context.home)) all.push(await servePool(context, session, poolId, intent))
  return { models: [...new Set(all.flatMap(({ models }) => models))], notes: all.flatMap(({ notes }) => notes) }
}

const relayAt = (
  host: string,
  { relayPort, relayPeer }: { readonly relayPort: number; readonly relayPeer: string },
): string => `/ip4/${host}/tcp/${relayPort}/p2p/${relayPeer}`

/** Addresses of this machine that others can reach, the likeliest first. */
const hostsOf = async (listen: string): Promise<string[]> =>
  listen === everywhere ? await rankedLanAddresses() : [listen]

/**
 * Starts relay, control plane and agent, makes the pool if there is none, and serves.
 * @returns what all of it is, once it runs; @throws MeshError `processEnded`, or as `servePool`
 */
export const hostGroup = async (
  context: CommandContext,
  services: HostServices,
  { before, config }: HostIdentity,
  intent: ServeIntent & OptionValues<'host' | 'plainHttp'>,
): Promise<UpReady> => {
  const { home, signal } = context
  const { host } = intent
  const known = before ?? saveDevice(home, { ...config, controlPlaneUrl: defaultControlPlaneUrl })
  if (listPools(home).length === 0) createPool(home, known.deviceId, config.networkId, context.now())
  const relay = await services.startRelay(listPools(home).map(({ poolId }) => poolId))
  signal.throwIfAborted()
  const { controlPlanePort, controlPlaneKey } = await services.startControlPlane(relayAt(host, relay))
  signal.throwIfAborted()
  const urlAt = (address: string): string => secureUrl(`http://${address}:${controlPlanePort}`)
  const url = urlAt(host === everywhere ? '127.0.0.1' : host)
  const own = { ...config, controlPlaneUrl: url, controlPlaneKey }
  const session = await register(context, { ...known, config: own })
  await services.startAgent(url, controlPlaneKey)
  const { models, notes } = await serveAll(context, session, intent)
  // all of it runs: only now this is the control plane that the device keeps
  saveDevice(home, own)
  const hosts = await hostsOf(host)
  const urls = (hosts.length === 0 ? ['127.0.0.1'] : hosts).map(urlAt)
  return {
    event: 'ready',
    deviceId: known.deviceId,
    url,
    hosts,
    relay: hosts.map((address) => relayAt(address, relay)),
    pids: services.pids(),
    serving: models,
    notes: intent.plainHttp ? [plainHttpNote, ...notes] : notes,
    join: groupInvites(home, { urls, controlPlaneKey }, context.now()).map(({ pool, line, usesLeft, notAfter }) => ({
      pool,
      lines: joinLines(line, models[0]),
      usesLeft,
      notAfter,
    })),
  }
}
