/** How many threads the matrices get. */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/**
 * Physical cores this process may use: two hardware threads of one core share its multipliers, so using both makes
 * matrix products slower. Linux tells the pairs; elsewhere the number of hardware threads is taken.
 */
export const physicalCores = (cpuInfo: () => string = () => readFileSync('/proc/cpuinfo', 'utf8')): number => {
  const usable = availableParallelism()
  try {
    const cores = new Set<string>()
    for (const block of cpuInfo().split('\n\n')) {
      const socket = /^physical id\s*:\s*(\d+)/m.exec(block)?.[1]
      const core = /^core id\s*:\s*(\d+)/m.exec(block)?.[1]
      if (socket !== undefined && core !== undefined) cores.add(`${socket}/${core}`)
    }
    return cores.size > 0 ? Math.max(1, Math.min(usable, cores.size)) : usable
  } catch {
    return usable
  }
}
