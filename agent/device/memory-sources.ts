/**
 * What operating systems tell about memory: parsers of their files and tools, each defensive, because a container may
 * hide any part. `read` gives the text of a file or `undefined`; tests give it recorded machines.
 */
import { posix } from 'node:path'

export type ReadText = (file: string) => string | undefined

/** One thing that bounds memory. */
export interface MemoryBound {
  /** For people. */
  readonly source: string
  /** Bytes that may be in use under it. */
  readonly limitBytes: number
  /** Bytes that may be taken now; `undefined` when it does not tell. */
  readonly availableBytes?: number
}

/** cgroup v1 says "no limit" with a number near 2^63. */
const unlimited = 2 ** 60

const numberIn = (text: string | undefined): number | undefined => {
  const match = /^\s*(\d+)\s*$/.exec(text ?? '')
  return match ? Number(match[1]) : undefined
}

/** Value of a line `name value` or `name: value kB`, in bytes. */
const lineIn = (text: string | undefined, name: string): number | undefined => {
  const match = new RegExp(`^${name}:?\\s+(\\d+)( kB)?\\s*$`, 'm').exec(text ?? '')
  return match ? Number(match[1]) * (match[2] ? 1024 : 1) : undefined
}

/** `/proc/meminfo`: MemAvailable counts caches that the kernel gives back without swapping. */
export const parseMeminfo = (text: string | undefined): MemoryBound | undefined => {
  const limitBytes = lineIn(text, 'MemTotal')
  if (limitBytes === undefined) return undefined
  const free = lineIn(text, 'MemFree')
  // kernels before 3.14 do not tell what is available: what is free and in caches comes near
  const guess = free === undefined ? undefined : free + (lineIn(text, 'Buffers') ?? 0) + (lineIn(text, 'Cached') ?? 0) - (lineIn(text, 'Shmem') ?? 0)
  return { source: '/proc/meminfo', limitBytes, availableBytes: lineIn(text, 'MemAvailable') ?? guess }
}

interface Mount {
  /** Folder of the hierarchy that is mounted. */
  readonly root: string
  readonly at: string
}

/** Spaces in mount paths are written `\040`. */
const unescape = (path: string): string => path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))

const findMount = (mountinfo: string, matches: (type: string, options: readonly string[]) => boolean): Mount | undefined => {
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ')
    if (after === undefined) continue
    const [, , , root, at] = before.split(' ')
    const [type, , options] = after.split(' ')
    if (root !== undefined && at !== undefined && matches(type, (options ?? '').split(','))) return { root: unescape(root), at: unescape(at) }
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

interface Group {
  readonly folder: string
  readonly limits: readonly (number | undefined)[]
  readonly used: number | undefined
  /** Caches of files that are given back when memory runs short. */
  readonly reclaimable: number | undefined
}

const boundOf = (version: string, { folder, limits, used, reclaimable }: Group): MemoryBound[] => {
  const known = limits.filter((limit): limit is number => limit !== undefined && limit < unlimited)
  if (known.length === 0) return []
  const limitBytes = Math.min(...known)
  return [{ source: `${version} ${folder}`, limitBytes, ...(used === undefined ? {} : { availableBytes: Math.max(0, limitBytes - Math.max(0, used - (reclaimable ?? 0))) }) }]
}

/** Limits of every control group this process is in, of either version, from its own up to the top. */
export const readControlGroups = (read: ReadText): MemoryBound[] => {
  const groups = read('/proc/self/cgroup') ?? ''
  const mountinfo = read('/proc/self/mountinfo') ?? ''
  const pathOf = (matches: (hierarchy: string, controllers: readonly string[]) => boolean): string | undefined => {
    const entry = groups.split('\n').map((line) => /^(\d+):([^:]*):(.*)$/.exec(line)).find((match) => match && matches(match[1], match[2].split(',')))
    return entry?.[3]
  }
  const bounds: MemoryBound[] = []
  const unified = findMount(mountinfo, (type) => type === 'cgroup2')
  const unifiedPath = pathOf((hierarchy) => hierarchy === '0')
  if (unified && unifiedPath !== undefined) {
    for (const folder of foldersOf(unified, unifiedPath)) {
      const file = (name: string): string | undefined => read(posix.join(folder, name))
      // above memory.high a group is slowed until it is of no use, so it bounds as memory.max does
      bounds.push(...boundOf('cgroup v2', { folder, limits: [numberIn(file('memory.max')), numberIn(file('memory.high'))], used: numberIn(file('memory.current')), reclaimable: lineIn(file('memory.stat'), 'inactive_file') }))
    }
  }
  const memory = findMount(mountinfo, (type, options) => type === 'cgroup' && options.includes('memory'))
  const memoryPath = pathOf((_, controllers) => controllers.includes('memory'))
  if (memory && memoryPath !== undefined) {
    for (const folder of foldersOf(memory, memoryPath)) {
      const file = (name: string): string | undefined => read(posix.join(folder, name))
      const stat = file('memory.stat')
      // the hierarchical limit includes groups above the mount, which a container does not see
      bounds.push(...boundOf('cgroup v1', { folder, limits: [numberIn(file('memory.limit_in_bytes')), lineIn(stat, 'hierarchical_memory_limit')], used: numberIn(file('memory.usage_in_bytes')), reclaimable: lineIn(stat, 'total_inactive_file') ?? lineIn(stat, 'inactive_file') }))
    }
  }
  return bounds
}

/** `vm_stat` of macOS: pages that are free, or hold what can be read again. `undefined` when it says something else. */
export const parseVmStat = (text: string): number | undefined => {
  const pageBytes = Number(/page size of (\d+) bytes/.exec(text)?.[1] ?? NaN)
  const pages = (name: string): number | undefined => {
    const match = new RegExp(`^Pages ${name}:\\s+(\\d+)\\.?\\s*$`, 'm').exec(text)
    return match ? Number(match[1]) : undefined
  }
  const free = pages('free')
  if (!(pageBytes >= 4096 && pageBytes <= 2 ** 20) || free === undefined) return undefined
  return pageBytes * (free + (pages('inactive') ?? 0) + (pages('speculative') ?? 0))
}

/** `/proc/<pid>/status`: memory that is the process's own. Pages of files are left out: the kernel counts them as available. */
export const parseOwnBytes = (status: string | undefined): number => (lineIn(status, 'RssAnon') ?? lineIn(status, 'VmRSS') ?? 0) + (lineIn(status, 'RssShmem') ?? 0)

/** `ps -axo pid=,ppid=,rss=`: resident bytes of a process and all below it. */
export const parseProcessTree = (text: string, pid: number): number => {
  const rows = text.split('\n').map((line) => line.trim().split(/\s+/).map(Number)).filter((row) => row.length === 3 && row.every(Number.isFinite))
  const tree = new Set([pid])
  for (let size = 0; size < tree.size; ) {
    size = tree.size
    for (const [child, parent] of rows) if (tree.has(parent)) tree.add(child)
  }
  return rows.filter(([child]) => tree.has(child)).reduce((sum, [, , kilobytes]) => sum + kilobytes * 1024, 0)
}
