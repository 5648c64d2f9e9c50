/**
 * Keeps the event loop turning while a frame is awaited, for a limited time. A core that sleeps takes up to 0.1 ms to
 * wake on a virtual machine, once a half layer; a loop that turns finds the frame when it comes.
 */
export class Lookout {
  readonly #ms: number
  #until = 0
  /** Frames that are looked for; none once the time is over. */
  #awaited = 0
  #turning = false

  /** @param ms how long to look for one frame; 0 for never */
  constructor(ms: number) {
    this.#ms = ms
  }

  begin(): void {
    if (this.#ms === 0) return
    this.#awaited++
    this.#until = performance.now() + this.#ms
    if (this.#turning) return
    this.#turning = true
    setImmediate(this.#turn)
  }

  /** A frame came. */
  end(): void {
    if (this.#awaited > 0) this.#awaited--
  }

  readonly #turn = (): void => {
    if (this.#awaited > 0 && performance.now() < this.#until) {
      setImmediate(this.#turn)
      return
    }
    this.#turning = false
    this.#awaited = 0
  }
}
