/** Waiting with an end: whatever does not come in time is given up by whoever waits, not ended. */

/** Runs it later; what is returned keeps it from being run. Tests put their own clock here. */
export type Later = (run: () => void, ms: number) => () => void

const systemLater: Later = (run, ms) => {
  const timer = setTimeout(run, ms)
  return () => clearTimeout(timer)
}

/**
 * What the work gives, or after `ms` what `late` returns or throws. Whatever becomes of late work does not matter any
 * more: should it fail then, nobody is told.
 */
export const withTimeout = async <T, Late = never>(
  work: PromiseLike<T>,
  ms: number,
  late: () => Late,
  later: Later = systemLater,
): Promise<T | Late> => {
  const end = Promise.withResolvers<undefined>()
  const cancel = later(() => end.resolve(undefined), Math.max(0, ms))
  try {
    const first = await Promise.race([work.then((value) => ({ value })), end.promise])
    return first === undefined ? late() : first.value
  } finally {
    cancel()
  }
}
