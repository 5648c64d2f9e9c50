/** The value, or an error with that text after `ms`; what becomes of the work then does not matter any more. */
export const within = async <T>(ms: number, problem: string, work: Promise<T>): Promise<T> => {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(problem)), Math.max(0, ms))
  try {
    return await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
