/** Whether this home may host a group, and what the others of the group run. */
import { existsSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { hostIn } from '../../shared/url-host.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import { type OptionName, optionTable, ownCommand } from '../../shared/options.ts'
import { defaultControlPlaneUrl, type LocalDevice } from '../device/device.ts'
import { type InviteTerms, standingInvite, type StandingInvite } from '../device/invites.ts'
import { listPools, type LocalPool } from '../device/pools.ts'

/** Options of `mesh up` that say how it hosts. */
export const hostOptions = [
  'networkId',
  'name',
  'yes',
  'modelId',
  'modelDir',
  'quant',
  'noServe',
  'host',
  'port',
  'plainHttp',
  'tlsCert',
  'tlsKey',
  'relayPort',
  'keepText',
  'discovery',
  'backend',
  'threads',
] as const satisfies readonly OptionName[]

/** Needs not be named. */
const defaultModel = optionTable.modelId.default

/** The invite that is printed: enough for the friends of an evening. `mesh pool-invite` makes others. */
const inviteUses = 10
const inviteMs = 86400e3

const isOfThisMachine = (url: string): boolean => {
  const own = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address))
  return ['localhost', '127.0.0.1', '::1', ...own].includes(hostIn(url))
}

/**
 * The control plane that the device uses is one that runs from this home, or it was told of none: `mesh up` may take
 * its place. A member of a group that is hosted elsewhere would lose it.
 * @throws MeshError `hostedElsewhere` | `stateUnreadable`
 */
export const checkHosting = (home: Home, device: LocalDevice): void => {
  const { controlPlaneUrl: url } = device.config
  const pools = listPools(home)
  const isMemberOnly = pools.length > 0 && pools.every(({ rootKey }) => rootKey === undefined)
  const hostedBefore = existsSync(home.controlPlane.database)
  if (isOfThisMachine(url) && (hostedBefore || (url === defaultControlPlaneUrl && !isMemberOnly))) return
  throw new MeshError('hostedElsewhere', {
    url,
    pools:
      pools.length === 0
        ? ''
        : ` for ${pools.length === 1 ? 'pool' : 'the pools'} ${pools.map(({ name }) => name).join(', ')}`,
  })
}

export interface GroupInvite extends StandingInvite {
  readonly pool: string
}

/** One invite for each pool that this device made; a later start gives the same one while it can be used. */
export const groupInvites = (
  home: Home,
  { urls, controlPlaneKey }: Pick<InviteTerms, 'urls' | 'controlPlaneKey'>,
  now: number,
): GroupInvite[] =>
  listPools(home)
    .filter((pool): pool is LocalPool & Required<Pick<LocalPool, 'rootKey'>> => pool.rootKey !== undefined)
    .map((pool) => ({
      pool: pool.name,
      ...standingInvite(home, pool, 'mesh up', {
        role: 'member',
        uses: inviteUses,
        notAfter: Math.floor(now / 1000) * 1000 + inviteMs,
        urls,
        controlPlaneKey,
        now,
      }),
    }))

/** How somebody gets an answer of a model. */
export const askLine = (model: string | undefined): string =>
  `${ownCommand()} inference ${model === undefined || model === defaultModel ? '' : `--model-id ${model} `}"Once ` +
  `upon a time"`

/** What another device runs, from its first command to an answer. */
export const joinLines = (invite: string, model: string | undefined): string[] => [
  `${ownCommand()} join ${invite} -d`,
  askLine(model),
]
