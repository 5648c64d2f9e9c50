/** A failure of the set-up that whoever started it can do something about. */
export class SetupError extends Error {
  constructor(problem, hint) {
    super(problem)
    this.hint = hint
  }
}
