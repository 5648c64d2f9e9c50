/**
 * What Linux tells about processors: parsers of its files, each defensive, because a container may hide any part.
 * `read` gives the text of a file or `undefined`; tests give it recorded machines. Elsewhere nothing is known but the
 * number of hardware threads.
 */
import { posix } from 'node:path'
import { controlGroupsOf, type ReadText } from './control-groups.ts'

/** USER_HZ: ticks of /proc, the same on every architecture that Node runs on. */
const ticksPerSecond = 100

/** `0-3,8` */
export const parseCpuList = (text: string): number[] =>
  text
    .trim()
    .split(',')
    .flatMap((part) => {
      const match = /^(\d+)(?:-(\d+))?$/.exec(part)
      if (!match) return []
      const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])]
      return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index)
    })

/** Processors that this process may run on (affinity and cpusets); `undefined` when it does not tell. */
export const readAllowedCpus = (read: ReadText): number[] | undefined => {
  const line = /^Cpus_allowed_list:\s*(\S+)\s*$/m.exec(read('/proc/self/status') ?? '')
  const cpus = line ? parseCpuList(line[1]) : []
  return cpus.length > 0 ? cpus : undefined
}

/**
 * Physical cores among these processors: two hardware threads of one core share its multipliers, so using both makes
 * matrix products slower. `undefined` where /proc/cpuinfo does not tell the pairs (most of ARM, which has none).
 */
export const readPhysicalCores = (read: ReadText, allowed: readonly number[] | undefined): number | undefined => {
  const cores = new Set<string>()
  for (const block of (read('/proc/cpuinfo') ?? '').split('\n\n')) {
    const value = (name: string): string | undefined => new RegExp(`^${name}\\s*:\\s*(\\d+)`, 'm').exec(block)?.[1]
    const [processor, socket, core] = [value('processor'), value('physical id'), value('core id')]
    if (socket === undefined || core === undefined) continue
    if (processor === undefined || !allowed || allowed.includes(Number(processor))) cores.add(`${socket}/${core}`)
  }
  return cores.size > 0 ? cores.size : undefined
}

/** `/proc/stat`: seconds that these processors (all, when not given) were at work or taken by the host, since boot. */
export const parseBusySeconds = (
  stat: string | undefined,
  allowed: readonly number[] | undefined,
): number | undefined => {
  let ticks: number | undefined
  for (const [, cpu, columns] of (stat ?? '').matchAll(/^cpu(\d+) +(.*)$/gm)) {
    if (allowed && !allowed.includes(Number(cpu))) continue
    const [user, nice, system, , , irq = 0, softirq = 0, steal = 0] = columns.split(' ').map(Number)
    ticks = (ticks ?? 0) + user + nice + system + irq + softirq + steal
  }
  return ticks === undefined || Number.isNaN(ticks) ? undefined : ticks / ticksPerSecond
}

/** `/proc/<pid>/stat`: seconds that all threads of a process were on a core. */
export const parseUsedSeconds = (stat: string | undefined): number | undefined => {
  // behind the name in brackets, which may hold anything: state is field 3, user and system time are 14 and 15
  const fields = stat?.replace(/^.*\) /s, '').split(' ')
  const seconds = fields && (Number(fields[14 - 3]) + Number(fields[15 - 3])) / ticksPerSecond
  return seconds === undefined || Number.isNaN(seconds) ? undefined : seconds
}

/** `/proc/<pid>/task/<tid>/schedstat`: seconds that a thread wanted to run and had no core. */
export const parseWaitedSeconds = (schedstat: string | undefined): number => {
  const nanoseconds = Number(schedstat?.trim().split(' ')[1])
  return Number.isFinite(nanoseconds) ? nanoseconds / 1e9 : 0
}

/** A control group that may use only so much processor time. */
export interface CpuQuota {
  readonly folder: string
  /** Seconds of processor time a second. */
  readonly cores: number
  /** Of all that is in the group, so far; `undefined` when it does not tell. */
  readonly usedSeconds: number | undefined
}

const quotaOf = (quota: number, period: number): number | undefined =>
  quota > 0 && period > 0 ? quota / period : undefined

/** Quotas of every control group this process is in, from its own up to the top; groups without one are left out. */
export const readCpuQuotas = (read: ReadText): CpuQuota[] => {
  const accounts = controlGroupsOf(read, 'cpuacct').filter(({ version }) => version === 'v1')
  const groups = controlGroupsOf(read, 'cpu')
  const firstV1 = groups.findIndex(({ version }) => version === 'v1')
  return groups.flatMap(({ version, folder }, index) => {
    const number = (file: string): number => Number(read(file) ?? NaN)
    if (version === 'v2') {
      const [quota, period] = (read(posix.join(folder, 'cpu.max')) ?? '').trim().split(' ').map(Number)
      const cores = quotaOf(quota, period)
      const used = /^usage_usec (\d+)$/m.exec(read(posix.join(folder, 'cpu.stat')) ?? '')
      return cores === undefined ? [] : [{ folder, cores, usedSeconds: used ? Number(used[1]) / 1e6 : undefined }]
    }
    const cores = quotaOf(
      number(posix.join(folder, 'cpu.cfs_quota_us')),
      number(posix.join(folder, 'cpu.cfs_period_us')),
    )
    // counted by a controller of its own, often mounted at the same place
    const used = number(posix.join(accounts[index - firstV1]?.folder ?? folder, 'cpuacct.usage'))
    return cores === undefined ? [] : [{ folder, cores, usedSeconds: Number.isFinite(used) ? used / 1e9 : undefined }]
  })
}
