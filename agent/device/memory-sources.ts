/**
 * What operating systems tell about memory: parsers of their files and tools, each defensive, because a container may
 * hide any part. `read` gives the text of a file or `undefined`; tests give it recorded machines.
 */
import { posix } from 'node:path'
import { controlGroupsOf, type ReadText } from './control-groups.ts'

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
  const guess =
    free === undefined
      ? undefined
      : free + (lineIn(text, 'Buffers') ?? 0) + (lineIn(text, 'Cached') ?? 0) - (lineIn(text, 'Shmem') ?? 0)
  return { source: '/proc/meminfo', limitBytes, availableBytes: lineIn(text, 'MemAvailable') ?? guess }
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
  return [
    {
      source: `${version} ${folder}`,
      limitBytes,
      ...(used === undefined
        ? {}
        : { availableBytes: Math.max(0, limitBytes - Math.max(0, used - (reclaimable ?? 0))) }),
    },
  ]
}

/** Limits of every control group this process is in, of either version, from its own up to the top. */
export const readControlGroups = (read: ReadText): MemoryBound[] =>
  controlGroupsOf(read, 'memory').flatMap(({ version, folder }) => {
    const file = (name: string): string | undefined => read(posix.join(folder, name))
    const stat = file('memory.stat')
    if (version === 'v2') {
      // above memory.high a group is slowed until it is of no use, so it bounds as memory.max does
      const limits = [numberIn(file('memory.max')), numberIn(file('memory.high'))]
      return boundOf('cgroup v2', {
        folder,
        limits,
        used: numberIn(file('memory.current')),
        reclaimable: lineIn(stat, 'inactive_file'),
      })
    }
    // the hierarchical limit includes groups above the mount, which a container does not see
    const limits = [numberIn(file('memory.limit_in_bytes')), lineIn(stat, 'hierarchical_memory_limit')]
    const reclaimable = lineIn(stat, 'total_inactive_file') ?? lineIn(stat, 'inactive_file')
    return boundOf('cgroup v1', { folder, limits, used: numberIn(file('memory.usage_in_bytes')), reclaimable })
  })

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

/**
 * `/proc/<pid>/status`: memory that is the process's own. Pages of files are left out: the kernel counts them as
 * available.
 */
export const parseOwnBytes = (status: string | undefined): number =>
  (lineIn(status, 'RssAnon') ?? lineIn(status, 'VmRSS') ?? 0) + (lineIn(status, 'RssShmem') ?? 0)

/** `ps -axo pid=,ppid=,rss=`: resident bytes of a process and all below it. */
export const parseProcessTree = (text: string, pid: number): number => {
  const rows = text
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter((row) => row.length === 3 && row.every(Number.isFinite))
  const tree = new Set([pid])
  for (let size = 0; size < tree.size;) {
    size = tree.size
    for (const [child, parent] of rows) if (tree.has(parent)) tree.add(child)
  }
  return rows.filter(([child]) => tree.has(child)).reduce((sum, [, , kilobytes]) => sum + kilobytes * 1024, 0)
}
