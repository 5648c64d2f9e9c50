import { Type } from 'typebox'
import { shortId } from '../../../shared/ids.ts'
import { Hex64, Time } from '../../../shared/schema/common.ts'
import { FoundBy, type KnownPeer } from '../../../shared/schema/known-peers.ts'
import { PoolPeer } from '../../../shared/schema/pool.ts'
import { readKnownPeers } from '../../device/known-peers.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { ago, table, validity } from '../render.ts'
import { ifReachable, openSession } from '../session.ts'

/** One device, as the control plane lists it and as the agent of this device met it; one of the two may be missing. */
interface PeerView {
  readonly deviceId: string
  readonly listed?: PoolPeer
  readonly met?: KnownPeer
}

const foundText: Record<FoundBy, string> = {
  'control-plane': 'control plane',
  mdns: 'mdns',
  cache: 'cache',
  relay: 'relay',
  inbound: 'it dialled us',
}

const views = (listed: readonly PoolPeer[], met: readonly KnownPeer[]): PeerView[] => [
  ...listed.map((peer) => ({
    deviceId: peer.deviceId,
    listed: peer,
    met: met.find(({ deviceId }) => deviceId === peer.deviceId),
  })),
  ...met
    .filter(({ deviceId }) => !listed.some((peer) => peer.deviceId === deviceId))
    .map((peer) => ({ deviceId: peer.deviceId, met: peer })),
]

const lastSeenOf = ({ listed, met }: PeerView): number => Math.max(listed?.lastSeenAt ?? 0, met?.lastSeenAt ?? 0)

const PeerAnswer = Type.Object({
  ...Type.Partial(PoolPeer).properties,
  deviceId: Hex64,
  address: Type.Optional(Type.String()),
  found: Type.Optional(FoundBy),
  latencyMs: Type.Optional(Type.Number({ minimum: 0 })),
  lastSeenAt: Time,
})

const peerAnswer = (view: PeerView): Type.Static<typeof PeerAnswer> => {
  const { deviceId, listed, met } = view
  const address = met?.address ?? listed?.addresses[0]
  return {
    ...listed,
    deviceId,
    name: listed?.name ?? met?.name,
    address,
    found: met?.found ?? (address === undefined ? undefined : 'control-plane'),
    latencyMs: met?.latencyMs,
    lastSeenAt: lastSeenOf(view),
  }
}

/** The peer id at the end of an address says who is there, which the device id of the row does already. */
const withoutPeerId = (address: string): string => address.replace(/\/p2p\/[^/]+$/, '')

/** Where a device is: all addresses of this one, of another the one that worked. */
const addressesOf = ({ listed, met }: PeerView, own: boolean): readonly string[] => {
  if (own) return listed?.addresses ?? []
  return [met?.address ?? listed?.addresses[0]].filter((address) => address !== undefined)
}

const rowOf = (view: PeerView, ownId: string, now: number): string[] => {
  const { deviceId, listed, met } = view
  const own = deviceId === ownId
  const name = listed?.name ?? met?.name ?? '-'
  const [address] = addressesOf(view, own)
  return [
    shortId(deviceId),
    own ? `${name} (this device)` : name,
    listed?.role ?? '-',
    listed === undefined ? '-' : listed.online ? 'online' : 'offline',
    listed === undefined ? '-' : validity(listed.notAfter, now),
    own || !address ? '-' : foundText[met?.found ?? 'control-plane'],
    own || met?.latencyMs === undefined
      ? '-'
      : `${met.latencyMs < 10 ? met.latencyMs.toFixed(1) : Math.round(met.latencyMs)} ms`,
    ago(lastSeenOf(view), now),
  ]
}

export const poolPeers = defineCommand({
  name: 'pool-peers',
  summary: 'members of a pool: where they are, how they were found, how far away',
  details: 'Without a control plane it shows the devices that the agent of this device met.',
  options: ['poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh pool-peers', 'mesh pool-peers --pool-id 3f...c1 --json'],
  json: Type.Array(PeerAnswer),
  run: async (context, values) => {
    const { device, client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const met = readKnownPeers(context.home).peers.filter(({ poolId }) => poolId === pool.poolId)
    const result = await ifReachable(client.call('listPeers', { params: { poolId: pool.poolId } }))
    if ('problem' in result && met.length === 0) throw result.problem
    if ('problem' in result) context.stderr.write(`${result.problem.message}; this is what the agent met\n`)
    const peers = views('answer' in result ? result.answer : [], met)
    if (values.json) return context.printJson(peers.map(peerAnswer))
    const now = context.now()
    const rows = peers.map((view) => rowOf(view, device.deviceId, now))
    context.stdout.write(
      table(['device', 'name', 'role', 'state', 'valid for', 'found by', 'latency', 'last seen'], rows, {
        columns: context.stdout.columns,
        below: ['valid for', 'found by', 'latency', 'last seen'],
        under: peers.map((view) => addressesOf(view, view.deviceId === device.deviceId).map(withoutPeerId)),
      }),
    )
  },
})
