/**
 * What is known of a ring only while this process lives: what its members said of the epoch, and when to look again.
 */
import { backoffMs } from '../../shared/backoff.ts'
import type { MeshError } from '../../shared/errors.ts'
import type { RingMember, RingStatus } from '../../shared/schema/ring.ts'
import { type HealthSettings, RingHealth } from '../domain/ring-health.ts'
import type { Report } from './presence.ts'

const pauses = { firstMs: 250, longestMs: 10_000 }
/** Timers of Node overflow beyond 24 days. */
const longestTimerMs = 3_600_000

export class LiveRing {
  status: RingStatus = 'waiting'
  reason = 'starting'
  readonly reports = new Map<string, Report>()
  readonly health: RingHealth
  /** Members that know until when they are left out. */
  readonly told = new Map<string, number>()
  /** No other epoch before this time. */
  retryAt = 0
  /** Why its model does not fit on the devices that are there. */
  misfit: MeshError | undefined
  /** Epochs in a row that did not work. */
  #failures = 0
  #timer: NodeJS.Timeout | undefined

  /** @param canSpare whether the others can do without a member */
  constructor(health: HealthSettings, canSpare: (deviceId: string) => boolean) {
    this.health = new RingHealth(health, canSpare)
  }

  /** Another epoch begins. */
  begin(cause: 'change' | 'failure', now: number): void {
    this.reports.clear()
    this.misfit = undefined
    this.#failures = cause === 'failure' ? this.#failures + 1 : 0
    this.retryAt = now + pauses.firstMs
    this.status = 'forming'
    this.reason = 'loading'
  }

  /** A member failed: the more often that happened, the longer the pause before the next epoch. */
  fail(now: number): void {
    if (this.status === 'active') this.status = 'forming'
    this.retryAt = Math.max(this.retryAt, now + backoffMs(this.#failures, pauses))
  }

  /** A device says that what kept it out is gone. @param members of the epoch that is there */
  askAgain(deviceId: string, members: readonly RingMember[], now: number): void {
    const { reports, health } = this
    if (reports.get(deviceId)?.state === 'failed') reports.delete(deviceId)
    health.ask(deviceId, now)
    const isReady = ({ deviceId: id }: RingMember): boolean =>
      id === deviceId || (!health.leftOut(id) && reports.get(id)?.state !== 'failed')
    const isDue = (health.leftOut(deviceId)?.until ?? Infinity) <= now
    // nothing came after the epoch that it failed in: it goes on with that one
    if (isDue && members.some((one) => one.deviceId === deviceId) && members.every(isReady)) health.begin(members, now)
  }

  activate(): void {
    this.status = 'active'
    this.misfit = undefined
    this.reason = ''
    this.#failures = 0
  }

  wait(reason: string): void {
    this.reason = reason
    this.status = [...this.reports.values()].some(({ state }) => state === 'loading' || state === 'ready')
      ? 'forming'
      : 'waiting'
  }

  /** Only the latest call counts; without a time there is nothing to look at again. */
  lookAgain(times: readonly number[], now: number, look: () => void): void {
    clearTimeout(this.#timer)
    if (times.length > 0)
      this.#timer = setTimeout(look, Math.min(Math.max(1, Math.min(...times) - now), longestTimerMs)).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }
}
