/** The memory lock of this device with what was measured: for the commands that show or change it. */
import { Type } from 'typebox'
import type { Home } from '../../shared/home.ts'
import { Count, Time } from '../../shared/schema/common.ts'
import { usableBytes } from '../../shared/schema/lock.ts'
import { formatBytes, formatDuration } from '../../shared/words.ts'
import { type ClockReading, readClock } from '../device/elapsed.ts'
import type { LocalDevice } from '../device/device.ts'
import { loadLock, type StoredLock } from '../device/lock-store.ts'
import { heldBytes, type MeasuredMemory, measureMemory } from '../device/memory.ts'
import { type Standing, standingOf, untilText } from '../device/resource-lock.ts'
import { readAgentState } from './session.ts'

export interface Resources {
  readonly lock: StoredLock | undefined
  readonly standing: Standing
  readonly memory: MeasuredMemory & { readonly heldBytes: number }
  /** Bytes that Mesh could have now: available ones and those the agent holds. */
  readonly obtainable: number
  readonly clock: ClockReading
}

/** @throws MeshError `stateUnreadable` */
export const readResources = (home: Home, device: LocalDevice): Resources => {
  const agent = readAgentState(home)
  const memory = { ...measureMemory(), heldBytes: agent === undefined ? 0 : heldBytes(agent.pid) }
  const obtainable = Math.min(memory.limitBytes, memory.availableBytes + memory.heldBytes)
  const clock = readClock()
  const lock = loadLock(home, device)
  return {
    lock,
    memory,
    obtainable,
    clock,
    standing: standingOf(lock, clock, { obtainable, wasDegraded: (agent?.memory?.missingBytes ?? 0) > 0 }),
  }
}

export const lockText = (
  { phase, memoryBytes, cooldownMs, remainingMs = 0 }: Standing,
  clock: ClockReading,
): string => {
  if (phase === 'unlocked') return 'none: mesh lock-resources --memory 7GB'
  if (phase === 'cooling')
    return (
      `${formatBytes(memoryBytes)}, unlocked: it stays committed until about ${untilText(remainingMs, clock)} ` +
      `(${formatDuration(remainingMs)} left)`
    )
  return `${formatBytes(memoryBytes)} locked, cooldown ${formatDuration(cooldownMs)} after mesh unlock-resources`
}

export const healthText = ({ phase, missingBytes, memoryBytes }: Standing): string => {
  if (phase === 'unlocked') return 'nothing is committed'
  return missingBytes > 0
    ? `degraded: ${formatBytes(missingBytes)} missing; what is placed here stays, nothing new comes`
    : `kept: up to ${formatBytes(usableBytes(memoryBytes))} for shards and caches, 7 % stay free`
}

/** Rows for `fields`. */
export const resourceRows = ({ standing, memory, clock }: Resources): [string, string][] => [
  ['lock', lockText(standing, clock)],
  ['state', healthText(standing)],
  [
    'memory',
    `${formatBytes(memory.availableBytes)} available of ${formatBytes(memory.limitBytes)} ` +
      `(${memory.limitedBy})${memory.heldBytes > 0 ? `, the agent holds ${formatBytes(memory.heldBytes)}` : ''}`,
  ],
]

/** What the commands on memory locks tell programs. */
export const ResourcesAnswer = Type.Object({
  phase: Type.Union([Type.Literal('unlocked'), Type.Literal('locked'), Type.Literal('cooling')]),
  memoryBytes: Count,
  usableBytes: Count,
  cooldownMs: Count,
  remainingMs: Type.Optional(Type.Number({ description: 'of a cooldown that runs' })),
  until: Type.Optional(Time),
  degraded: Type.Boolean(),
  missingBytes: Count,
  sequence: Count,
  measured: Type.Object({ limitBytes: Count, availableBytes: Count, heldBytes: Count, limitedBy: Type.String() }),
})

/** The same after a change. */
export const LockChangeAnswer = Type.Object({
  ...ResourcesAnswer.properties,
  changed: Type.Boolean(),
  recorded: Type.Boolean({ description: 'false: the agent tells the control plane when it can' }),
})

export const resourcesAnswer = ({ lock, standing, memory, clock }: Resources): Type.Static<typeof ResourcesAnswer> => ({
  ...standing,
  usableBytes: usableBytes(standing.memoryBytes),
  until: standing.remainingMs === undefined ? undefined : Math.round(clock.wallMs + standing.remainingMs),
  degraded: standing.missingBytes > 0,
  sequence: lock?.commitment.sequence ?? 0,
  measured: memory,
})
