/** The memory of this machine as it is now: measured, with the limits of containers, never assumed. */
import { execFileSync } from 'node:child_process'
import { freemem, totalmem } from 'node:os'
import { namesIn, textOf } from '../../shared/lenient-files.ts'
import type { ReadText } from './control-groups.ts'
import {
  type MemoryBound,
  parseMeminfo,
  parseOwnBytes,
  parseProcessTree,
  parseVmStat,
  readControlGroups,
} from './memory-sources.ts'

export interface MeasuredMemory {
  /** Bytes that may be in use at most: of the machine, or of the container when that is less. */
  readonly limitBytes: number
  /** Bytes that can be taken now without swapping. */
  readonly availableBytes: number
  /** What limits: a control group or the machine. For people. */
  readonly limitedBy: string
}

/** Milliseconds that a tool of the system may take. */
const toolMs = 2000

const runTool = (name: string, args: readonly string[]): string => {
  try {
    return execFileSync(name, [...args], { encoding: 'utf8', timeout: toolMs, stdio: ['ignore', 'pipe', 'ignore'] })
  } catch {
    return ''
  }
}

/** The least of all bounds. */
export const combineBounds = (bounds: readonly MemoryBound[]): MeasuredMemory => {
  const tightest = bounds.reduce((a, b) => (b.limitBytes < a.limitBytes ? b : a))
  const available = bounds.map(({ availableBytes }) => availableBytes).filter((bytes) => bytes !== undefined)
  return {
    limitBytes: tightest.limitBytes,
    availableBytes: Math.min(tightest.limitBytes, ...available),
    limitedBy: tightest.source,
  }
}

/** Bounds of a Linux machine; `fallback` where /proc is hidden. */
export const readLinuxBounds = (read: ReadText, fallback: MemoryBound): MemoryBound[] => [
  parseMeminfo(read('/proc/meminfo')) ?? fallback,
  ...readControlGroups(read),
]

export const measureMemory = (): MeasuredMemory => {
  const machine: MemoryBound = { source: 'the machine', limitBytes: totalmem(), availableBytes: freemem() }
  if (process.platform === 'linux') return combineBounds(readLinuxBounds(textOf, machine))
  if (process.platform !== 'darwin') return combineBounds([machine])
  return combineBounds([{ ...machine, availableBytes: parseVmStat(runTool('vm_stat', [])) ?? machine.availableBytes }])
}

/** Bytes that a process and its children hold: what would be available again without them. */
export const heldBytes = (pid: number): number => {
  if (process.platform !== 'linux')
    return process.platform === 'win32' ? 0 : parseProcessTree(runTool('ps', ['-axo', 'pid=,ppid=,rss=']), pid)
  const children = namesIn(`/proc/${pid}/task`).flatMap((thread) =>
    (textOf(`/proc/${pid}/task/${thread}/children`) ?? '').trim().split(' ').filter(Boolean).map(Number),
  )
  return children.reduce((sum, child) => sum + heldBytes(child), parseOwnBytes(textOf(`/proc/${pid}/status`)))
}
