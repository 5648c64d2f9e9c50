/**
 * Wrong API keys, by address. Nobody guesses 256 bits; this keeps trying cheap for us: after a few wrong keys in a row
 * every further one makes the address wait, twice as long each time, and what comes meanwhile is refused unread.
 */
import { backoffMs } from '../../shared/backoff.ts'
import { putLast } from '../../shared/put-last.ts'

/** A person may paste the wrong key that often before they have to wait. */
const free = 10
const pauses = { firstMs: 1000, longestMs: 60_000 }
/** An address that was quiet for so long starts anew. */
const forgetAfterMs = 10 * 60_000
/** Addresses that are remembered; the one that was quiet for longest makes room. */
const mostAddresses = 10_000

interface Attempts {
  readonly wrong: number
  readonly at: number
  readonly until: number
}

export class WrongKeys {
  readonly #attempts = new Map<string, Attempts>()

  /** Milliseconds until the address may try again; 0: now. */
  pauseMs(address: string, now: number): number {
    return Math.max(0, (this.#of(address, now)?.until ?? 0) - now)
  }

  wrong(address: string, now: number): void {
    const wrong = (this.#of(address, now)?.wrong ?? 0) + 1
    const pauseMs = wrong < free ? 0 : backoffMs(wrong - free, pauses)
    putLast(this.#attempts, address, { wrong, at: now, until: now + pauseMs }, mostAddresses)
  }

  right(address: string): void {
    this.#attempts.delete(address)
  }

  #of(address: string, now: number): Attempts | undefined {
    const attempts = this.#attempts.get(address)
    return attempts && now - attempts.at < forgetAfterMs ? attempts : undefined
  }
}
