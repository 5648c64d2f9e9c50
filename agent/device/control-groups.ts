/** Where the control groups of this process lie (Linux, versions 1 and 2), from its own up to the top. */
import { posix } from 'node:path'

/** The text of a file, or `undefined`; tests give it recorded machines. */
export type ReadText = (file: string) => string | undefined

export interface ControlGroup {
  readonly version: 'v1' | 'v2'
  readonly folder: string
}

interface Mount {
  /** Folder of the hierarchy that is mounted. */
  readonly root: string
  readonly at: string
}

/** Spaces in mount paths are written `\040`. */
const unescape = (path: string): string =>
  path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))

const findMount = (
  mountinfo: string,
  matches: (type: string, options: readonly string[]) => boolean,
): Mount | undefined => {
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ')
    if (after === undefined) continue
    const [, , , root, at] = before.split(' ')
    const [type, , options] = after.split(' ')
    if (root !== undefined && at !== undefined && matches(type, (options ?? '').split(',')))
      return { root: unescape(root), at: unescape(at) }
  }
  return undefined
}

/** Folders from the group of this process up to the top of the mount. */
const foldersOf = ({ root, at }: Mount, path: string): string[] => {
  // in a container the mount shows a subtree; a path outside of it belongs to the mount's own top
  const inside = root === '/' ? path : path === root || path.startsWith(`${root}/`) ? path.slice(root.length) : '/'
  const folders: string[] = []
  for (let folder = posix.normalize(inside || '/'); ; folder = posix.dirname(folder)) {
    folders.push(folder === '/' ? at : posix.join(at, folder))
    if (folder === '/' || folder === '.') return folders
  }
}

/** Groups of either version that may bound what `controller` (`memory`, `cpu`, `cpuacct`) counts. */
export const controlGroupsOf = (read: ReadText, controller: string): ControlGroup[] => {
  const groups = (read('/proc/self/cgroup') ?? '').split('\n').map((line) => /^(\d+):([^:]*):(.*)$/.exec(line))
  const mountinfo = read('/proc/self/mountinfo') ?? ''
  const pathOf = (matches: (hierarchy: string, controllers: readonly string[]) => boolean): string | undefined =>
    groups.find((match) => match && matches(match[1], match[2].split(',')))?.[3]
  const found = (
    version: ControlGroup['version'],
    mount: Mount | undefined,
    path: string | undefined,
  ): ControlGroup[] =>
    mount === undefined || path === undefined ? [] : foldersOf(mount, path).map((folder) => ({ version, folder }))
  return [
    ...found(
      'v2',
      findMount(mountinfo, (type) => type === 'cgroup2'),
      pathOf((hierarchy) => hierarchy === '0'),
    ),
    ...found(
      'v1',
      findMount(mountinfo, (type, options) => type === 'cgroup' && options.includes(controller)),
      pathOf((_, controllers) => controllers.includes(controller)),
    ),
  ]
}
