import assert from 'node:assert/strict'
import { uptime } from 'node:os'
import { test } from 'node:test'
import fc from 'fast-check'
import { advance, type ClockReading, type Countdown, readClock, startCountdown } from './elapsed.ts'

const hour = 3600e3

/** What may happen to a machine between two looks at its clocks. */
type Happening =
  | { readonly kind: 'runs'; readonly ms: number }
  | { readonly kind: 'sleeps'; readonly ms: number }
  /** Switched off for a while, then on: a new boot. */
  | { readonly kind: 'off'; readonly ms: number }
  /** Somebody sets the wall clock. */
  | { readonly kind: 'set'; readonly byMs: number }
  /** The countdown is written down; what was not is lost with the process. */
  | { readonly kind: 'persist' }

class Machine {
  ranMs = 0
  realMs = 0
  #boot = 1
  #uptimeMs: number
  #wallMs = 1.8e12
  readonly #tellsBoot: boolean

  constructor(uptimeMs: number, tellsBoot = true) {
    this.#uptimeMs = uptimeMs
    this.#tellsBoot = tellsBoot
  }

  get clock(): ClockReading {
    return { bootId: this.#tellsBoot ? `boot-${this.#boot}` : '', uptimeMs: this.#uptimeMs, wallMs: this.#wallMs }
  }

  live(event: Happening): void {
    if (event.kind === 'set') this.#wallMs = Math.max(0, this.#wallMs + event.byMs)
    if (event.kind === 'set' || event.kind === 'persist') return
    this.realMs += event.ms
    this.#wallMs += event.ms
    if (event.kind === 'off') {
      this.#boot++
      this.#uptimeMs = 0
    } else {
      this.ranMs += event.ms
      this.#uptimeMs += event.ms
    }
  }
}

const span = fc.integer({ min: 0, max: 10 * hour })
const happening = fc.oneof(
  fc.record({ kind: fc.constant('runs' as const), ms: span }),
  fc.record({ kind: fc.constant('sleeps' as const), ms: span }),
  fc.record({ kind: fc.constant('off' as const), ms: span }),
  fc.record({ kind: fc.constant('persist' as const) }),
)
const clockSet = fc.record({
  kind: fc.constant('set' as const),
  byMs: fc.integer({ min: -400 * 24 * hour, max: 400 * 24 * hour }),
})
const start = fc.record({
  uptimeMs: fc.integer({ min: 0, max: 1000 * hour }),
  durationMs: fc.integer({ min: 1, max: 48 * hour }),
})

/** Lives through the events; `atEach` sees the countdown as a process that starts at that moment would. */
const live = (
  machine: Machine,
  durationMs: number,
  events: readonly Happening[],
  atEach: (now: Countdown) => void,
): void => {
  let written = startCountdown(durationMs, machine.clock)
  for (const event of events) {
    machine.live(event)
    if (event.kind === 'persist') written = advance(written, machine.clock)
    atEach(advance(written, machine.clock))
  }
}

test('cooldown: without a reboot it is over exactly when the time has passed, whatever the wall clock says and whenever it is written down', () => {
  fc.assert(
    fc.property(
      start,
      fc.array(
        fc.oneof(
          happening.filter(({ kind }) => kind !== 'off'),
          clockSet,
        ),
      ),
      ({ uptimeMs, durationMs }, events) => {
        const machine = new Machine(uptimeMs)
        live(machine, durationMs, events, ({ remainingMs }) =>
          assert.equal(remainingMs, Math.max(0, durationMs - machine.realMs)),
        )
      },
    ),
  )
})

test('cooldown: with reboots and a clock that is never set it does not end early', () => {
  fc.assert(
    fc.property(start, fc.array(happening), ({ uptimeMs, durationMs }, events) => {
      const machine = new Machine(uptimeMs)
      live(machine, durationMs, events, ({ remainingMs }) =>
        assert.ok(remainingMs >= durationMs - machine.realMs - 1e-6),
      )
    }),
  )
})

test('cooldown: however the clock is set and the machine rebooted, half of it must pass on the running machine', () => {
  fc.assert(
    fc.property(
      start,
      fc.array(fc.oneof(happening, clockSet), { maxLength: 30 }),
      ({ uptimeMs, durationMs }, events) => {
        const machine = new Machine(uptimeMs)
        live(machine, durationMs, events, ({ remainingMs }) => {
          if (remainingMs === 0)
            assert.ok(machine.ranMs >= durationMs / 2 - 1e-6, `ended after ${machine.ranMs} of ${durationMs} ms`)
        })
      },
    ),
    { numRuns: 500 },
  )
})

test('cooldown: a reboot counts the time on in full and the time off up to half', () => {
  const day = startCountdown(24 * hour, { bootId: 'a', uptimeMs: 5 * hour, wallMs: 1000 * hour })
  const after = (offHours: number, onHours: number): number =>
    advance(day, { bootId: 'b', uptimeMs: onHours * hour, wallMs: (1000 + offHours + onHours) * hour }).remainingMs /
    hour
  assert.deepEqual([after(8, 1), after(12, 1), after(100, 1), after(0, 24), after(100, 12)], [15, 11, 11, 0, 0])
})

test('cooldown: a clock set back before a reboot counts less, never more', () => {
  const day = startCountdown(24 * hour, { bootId: 'a', uptimeMs: 0, wallMs: 1000 * hour })
  assert.equal(advance(day, { bootId: 'b', uptimeMs: 10 * hour, wallMs: 900 * hour }).remainingMs, 24 * hour)
})

test('cooldown: where one of two looks tells no boot id, the uptime says whether the machine ran on', () => {
  const day = startCountdown(24 * hour, { bootId: 'a', uptimeMs: hour, wallMs: 1000 * hour })
  assert.equal(advance(day, { bootId: '', uptimeMs: 2 * hour, wallMs: 1000 * hour }).remainingMs, 23 * hour)
  assert.equal(advance(day, { bootId: '', uptimeMs: hour / 2, wallMs: 1000 * hour }).remainingMs, 24 * hour)
})

test('cooldown: what was counted for time off is no longer to be had', () => {
  const day = startCountdown(24 * hour, { bootId: 'a', uptimeMs: 0, wallMs: 1000 * hour })
  const later = advance(day, { bootId: 'b', uptimeMs: hour, wallMs: 1009 * hour })
  assert.deepEqual([later.remainingMs, later.offCreditMs], [15 * hour, 4 * hour])
  assert.equal(advance(later, { bootId: 'c', uptimeMs: 0, wallMs: 1109 * hour }).remainingMs, 11 * hour)
})

test('cooldown: where no boot id is told, it never ends before half has passed either', () => {
  fc.assert(
    fc.property(start, fc.array(fc.oneof(happening, clockSet)), ({ uptimeMs, durationMs }, events) => {
      const machine = new Machine(uptimeMs, false)
      live(machine, durationMs, events, ({ remainingMs }) => {
        if (remainingMs === 0) assert.ok(machine.ranMs >= durationMs / 2 - 1e-6)
      })
    }),
  )
})

test('clock: this machine tells its uptime, and the same boot twice', () => {
  const [first, second] = [readClock(), readClock()]
  assert.ok(first.uptimeMs > 0 && second.uptimeMs >= first.uptimeMs)
  assert.ok(Math.abs(second.uptimeMs - uptime() * 1000) < 60_000, 'in milliseconds')
  assert.equal(first.bootId, second.bootId)
  if (process.platform === 'linux') assert.match(first.bootId, /^[0-9a-f-]{36}$/)
})
