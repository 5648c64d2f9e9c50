/**
 * Time that passes for a cooldown, counted so that neither a wall clock that is set nor a restart shortens it.
 *
 * The rule: within one boot of the machine the time since boot counts (it includes sleep, and nobody can set it). Over
 * a reboot the uptime of the new boot counts, and the time the machine was off as the wall clock tells it, but at most
 * half of the cooldown in all: a night switched off counts, a calendar set forward by a year gains no more than that.
 * A wall clock that was set back makes a reboot count less, never more.
 */
import { execFileSync } from 'node:child_process'
import { uptime } from 'node:os'
import { Type } from 'typebox'
import { readState } from '../../shared/home.ts'

export const ClockReading = Type.Object({
  /** Changes with every boot; empty where the system does not tell. */
  bootId: Type.String({ maxLength: 100 }),
  /** Milliseconds since boot, sleep included. */
  uptimeMs: Type.Number({ minimum: 0 }),
  /** Milliseconds since 1970, as the wall clock says. */
  wallMs: Type.Number(),
})
export type ClockReading = Type.Static<typeof ClockReading>

/** How much of a cooldown is left, and when that was true. */
export const Countdown = Type.Object({
  remainingMs: Type.Number({ minimum: 0 }),
  /** How much more may be counted for time that the machine was off. */
  offCreditMs: Type.Number({ minimum: 0 }),
  at: ClockReading,
})
export type Countdown = Type.Static<typeof Countdown>

/** A countdown that begins now. */
export const startCountdown = (durationMs: number, now: ClockReading): Countdown => ({
  remainingMs: durationMs,
  offCreditMs: durationMs / 2,
  at: now,
})

/** Without boot ids only an uptime that went back shows a reboot; what is missed by that is counted too little. */
const isSameBoot = (before: ClockReading, now: ClockReading): boolean =>
  before.bootId !== '' && now.bootId !== '' ? before.bootId === now.bootId : now.uptimeMs >= before.uptimeMs

/** The same countdown as it stands now. */
export const advance = (countdown: Countdown, now: ClockReading): Countdown => {
  const { at, remainingMs, offCreditMs } = countdown
  if (isSameBoot(at, now))
    return { remainingMs: Math.max(0, remainingMs - Math.max(0, now.uptimeMs - at.uptimeMs)), offCreditMs, at: now }
  const gap = Math.max(0, now.wallMs - at.wallMs)
  const offMs = Math.min(Math.max(0, gap - now.uptimeMs), offCreditMs)
  const passed = Math.min(gap, now.uptimeMs + offMs)
  return { remainingMs: Math.max(0, remainingMs - passed), offCreditMs: offCreditMs - offMs, at: now }
}

let bootId: string | undefined

const readBootId = (): string => {
  try {
    if (process.platform === 'linux') return readState('/proc/sys/kernel/random/boot_id')?.toString('utf8').trim() ?? ''
    if (process.platform === 'darwin')
      return execFileSync('sysctl', ['-n', 'kern.bootsessionuuid'], {
        encoding: 'utf8',
        timeout: 2000,
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim()
  } catch {
    // not told: the uptime has to do
  }
  return ''
}

/** The clocks of this machine. */
export const readClock = (): ClockReading => {
  bootId ??= readBootId().slice(0, 100)
  return { bootId, uptimeMs: Math.round(uptime() * 1000), wallMs: Date.now() }
}
