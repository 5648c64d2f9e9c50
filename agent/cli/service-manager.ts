/** What starts services on this system, where it wants its file, and the commands that it is told with. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { launchdPlist, type ServiceSpec, systemdUnit, windowsTask } from './service-file.ts'

export interface Machine {
  readonly platform: NodeJS.Platform
  /** Home folder of the user. */
  readonly homeFolder: string
  /** Folder of the user's settings, where the environment names one (XDG_CONFIG_HOME). */
  readonly configFolder: string | undefined
  /** `MESHNET_HOME`. */
  readonly meshHome: string
  /** Number of the user; absent where there is none. */
  readonly uid: number | undefined
}

type CommandLine = readonly [file: string, ...args: string[]]

export interface ServicePlan {
  /** How people call what starts it. */
  readonly manager: string
  readonly file: string
  readonly content: string
  readonly encoding: 'utf8' | 'utf16le'
  /** Run one after the other, with the file in its place. */
  readonly install: readonly CommandLine[]
  /** Run while the file is still there, and when it is gone. */
  readonly remove: { readonly before: readonly CommandLine[]; readonly after: readonly CommandLine[] }
  /** What else to know. */
  readonly note?: string
}

const systemd = (spec: ServiceSpec, { homeFolder, configFolder }: Machine): ServicePlan => {
  const ofUser = spec.user === undefined
  const unit = `${spec.name}.service`
  const tell = (...args: string[]): CommandLine => ['systemctl', ...(ofUser ? ['--user'] : []), ...args]
  return {
    manager: 'systemd',
    file: ofUser
      ? join(configFolder ?? join(homeFolder, '.config'), 'systemd', 'user', unit)
      : join('/etc/systemd/system', unit),
    content: systemdUnit(spec),
    encoding: 'utf8',
    install: [tell('daemon-reload'), tell('enable', '--now', unit)],
    remove: { before: [tell('disable', '--now', unit)], after: [tell('daemon-reload')] },
    ...(ofUser ? { note: 'it starts when you log in; to start it with the machine: loginctl enable-linger' } : {}),
  }
}

const launchd = (spec: ServiceSpec, { homeFolder, uid }: Machine): ServicePlan => {
  const named = { ...spec, name: `org.meshnet.${spec.name}` }
  const domain = spec.user === undefined ? `gui/${uid ?? 0}` : 'system'
  const file = join(
    spec.user === undefined ? join(homeFolder, 'Library', 'LaunchAgents') : '/Library/LaunchDaemons',
    `${named.name}.plist`,
  )
  return {
    manager: 'launchd',
    file,
    content: launchdPlist(named),
    encoding: 'utf8',
    install: [['launchctl', 'bootstrap', domain, file]],
    remove: { before: [['launchctl', 'bootout', `${domain}/${named.name}`]], after: [] },
  }
}

const windows = (spec: ServiceSpec, { meshHome }: Machine): ServicePlan => {
  const file = join(meshHome, `${spec.name}.xml`)
  return {
    manager: 'the task scheduler',
    file,
    content: `\uFEFF${windowsTask(spec)}`,
    encoding: 'utf16le',
    install: [
      ['schtasks', '/Create', '/TN', spec.name, '/XML', file, '/F'],
      ['schtasks', '/Run', '/TN', spec.name],
    ],
    remove: { before: [['schtasks', '/Delete', '/TN', spec.name, '/F']], after: [] },
  }
}

/** How a service is installed on a machine. @throws MeshError `usage` for a system that we know no manager of */
export const planService = (spec: ServiceSpec, machine: Machine): ServicePlan => {
  if (machine.platform === 'linux') return systemd(spec, machine)
  if (machine.platform === 'darwin') return launchd(spec, machine)
  if (machine.platform === 'win32') return windows(spec, machine)
  throw new MeshError('usage', {
    problem:
      `services are known for Linux (systemd), macOS and Windows, not for ${machine.platform}; ` +
      'mesh up -d runs in the background',
  })
}

export const commandText = (line: CommandLine): string =>
  line.map((part) => (/^[\w@%+=:,./-]+$/.test(part) ? part : `'${part.replaceAll("'", String.raw`'\''`)}'`)).join(' ')

/** Runs them one after the other. @throws MeshError `serviceManager` with what failed and what is left to do */
export const runAll = (lines: readonly CommandLine[], { manager, file }: ServicePlan): void => {
  for (const [index, line] of lines.entries()) {
    const [program, ...args] = line
    const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', windowsHide: true })
    if (status === 0) continue
    const said = `${stderr ?? ''}\n${stdout ?? ''}`
      .split('\n')
      .map((text) => text.trim())
      .find((text) => text !== '')
    const problem = error
      ? 'code' in error && error.code === 'ENOENT'
        ? `${program} is not on this machine`
        : problemOf(error)
      : (said ?? `exit code ${status}`)
    throw new MeshError(
      'serviceManager',
      { manager, command: commandText(line), problem, file, rest: lines.slice(index).map(commandText).join(' && ') },
      error,
    )
  }
}
