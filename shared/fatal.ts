/** How a Mesh program ends when something failed: one line what went wrong, one line what to do. */
import { writeSync } from 'node:fs'
import { MeshError } from './errors.ts'

/**
 * Prints `error: ...` and `hint: ...` on stderr.
 * A failure that is our defect also shows its stack, so that a report can be useful.
 * @returns the exit code for it
 */
export const printFatal = (error: unknown, write: (text: string) => void = writeStderr): number => {
  const failure = MeshError.from(error)
  const stack = failure.code === 'internal' && failure.cause instanceof Error ? `${failure.cause.stack ?? ''}\n` : ''
  write(`${stack}error: ${failure.message}\nhint: ${failure.hint}\n`)
  return failure.exitCode
}

// synchronous: the process ends right after it, and a pipe would lose what is still buffered
const writeStderr = (text: string): void => {
  try {
    writeSync(2, text)
  } catch {
    // nobody reads stderr any more
  }
}
