/**
 * Notices that rank 0 says nothing any more while it should. A machine that sleeps, or a process that was stopped,
 * breaks no link: without this, its lease at the control plane would be the first to tell.
 */
export class Silence {
  readonly #onSilent: () => void
  #timer: NodeJS.Timeout | undefined

  constructor(onSilent: () => void) {
    this.#onSilent = onSilent
  }

  /** From now on something is to come within that time. */
  expect(ms: number): void {
    this.end()
    this.#timer = setTimeout(this.#onSilent, ms).unref()
  }

  /** It came, or is not awaited any more. */
  end(): void {
    clearTimeout(this.#timer)
  }
}
