/** Three members whose health is looked at, and what they say. */
import { beforeEach } from 'node:test'
import type { Member, Said, SaidBy } from '../epoch-watch.ts'
import { type LeftOut, RingHealth } from '../ring-health.ts'

export const settings = {
  silenceMs: 1000,
  retryMs: 100,
  longestRetryMs: 1000,
  wellMs: 5000,
  longestLoadMs: 50_000,
  random: () => 0.5,
}
export const [a, b, c]: readonly Member[] = ['a', 'b', 'c'].map((deviceId) => ({
  deviceId,
  name: deviceId.toUpperCase(),
}))
export const ready: Said = { state: 'ready', progress: 1 }
export const report = (
  code: string,
  fields: Record<string, string | number> = {},
): { code: string; message: string; fields: Record<string, string | number> } => ({
  code,
  message: `${code} happened`,
  fields,
})
export const failed = (code: string, fields?: Record<string, string | number>): Said => ({
  state: 'failed',
  progress: 0,
  error: report(code, fields),
})
export const loads = (bytes: number): Said => ({
  state: 'loading',
  progress: 0,
  loading: { phase: 'quantising', bytes, totalBytes: 1000 },
})
export const all = (...members: Member[]): SaidBy => new Map(members.map(({ deviceId }) => [deviceId, ready]))

/** That of the test; anew for each of them. */
export let health = new RingHealth(settings)

/** Another one for the rest of the test. */
export const use = (next: RingHealth): void => void (health = next)

beforeEach(() => {
  health = new RingHealth(settings)
  health.begin([a, b, c], 0)
})
export const out = (deviceId = 'b'): LeftOut | undefined => health.leftOut(deviceId)
export const outs = (): string[] => ['a', 'b', 'c'].filter((deviceId) => out(deviceId))
