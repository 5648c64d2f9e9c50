/** The service of this home, as it is on this machine. */
import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { getCompileCacheDir } from 'node:module'
import { homedir, userInfo } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { Home } from '../../shared/home.ts'
import { configFolderFromEnvironment } from '../../shared/options.ts'
import { commandOf } from './programs.ts'
import { type Machine, planService, type ServicePlan } from './service-manager.ts'

/** One for a home; that of the usual home has the short name. */
const nameOf = (home: Home): string =>
  home.root === resolve(join(homedir(), '.meshnet'))
    ? 'meshnet'
    : `meshnet-${createHash('sha256').update(home.root).digest('hex').slice(0, 8)}`

/** Who owns the home: a service that the machine starts runs as that user, not as root. */
const ownerOf = (home: Home): string => {
  const owner = statSync(home.root, { throwIfNoEntry: false })?.uid
  const { uid, username } = userInfo()
  return owner === undefined || owner === uid || process.platform === 'win32' ? username : String(owner)
}

export interface HomeService {
  /** Command of `mesh` with its arguments. */
  readonly args: readonly string[]
  /** Started with the machine, not with the login of the user. */
  readonly system: boolean
}

/** @throws MeshError `usage` for a system without a known service manager */
export const serviceOfHome = (home: Home, { args, system }: HomeService): ServicePlan => {
  const machine: Machine = {
    platform: process.platform,
    homeFolder: homedir(),
    configFolder: configFolderFromEnvironment(),
    meshHome: home.root,
    uid: process.getuid?.(),
  }
  const compiled = getCompileCacheDir()
  const [file, ...rest] = commandOf('background')
  return planService(
    {
      name: nameOf(home),
      description: `Mesh (mesh ${args[0] ?? 'start'}) of ${home.root}`,
      command: [file, ...rest, ...args],
      // the folder that Node makes below is for its version
      environment: {
        MESHNET_HOME: home.root,
        ...(compiled === undefined ? {} : { NODE_COMPILE_CACHE: dirname(compiled) }),
      },
      ...(system ? { user: ownerOf(home) } : {}),
    },
    machine,
  )
}
