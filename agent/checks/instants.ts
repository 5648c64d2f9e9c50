/**
 * When a rank is checked next: once in every window of tokens, at an instant that nobody else can know. Two instants
 * are less than two windows apart, and as far apart as `spanTokens` with a probability below 0.3 %.
 */

/** Of any so many tokens in a row, one is checked, at 99 % and more. */
export const spanTokens = 200
/** The gap of two instants is windowTokens * (1 + a - b), a and b uniform: of spans of 200, 0.1 % hold none. */
export const windowTokens = 110

export class Instants {
  readonly #random: () => number
  #passed = 0
  #window = 0
  #due: number

  /** @param random uniform in 0..1, and kept to oneself */
  constructor(random: () => number) {
    this.#random = random
    this.#due = random() * windowTokens
  }

  /** So many tokens more. */
  pass(tokens: number): void {
    this.#passed += tokens
  }

  get isDue(): boolean {
    return this.#passed >= this.#due
  }

  /** It was checked: the next instant lies in the window after this one. */
  done(): void {
    this.#window = Math.max(this.#window + 1, Math.floor(this.#passed / windowTokens))
    this.#due = (this.#window + this.#random()) * windowTokens
  }

  /** Again after a few tokens, whatever the window: something was wrong, or could not be seen. */
  soon(tokens: number): void {
    this.#due = Math.min(this.#due, this.#passed + tokens * this.#random())
  }

  /** Not before so many tokens more. */
  notBefore(tokens: number): void {
    this.#due = Math.max(this.#due, this.#passed + tokens)
  }
}
