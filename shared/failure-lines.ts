/** A failure for people, in two lines. Loads next to nothing: programs that print one line must start at once. */
import { writeSync } from 'node:fs'
import { MeshError } from './errors.ts'
import { oneLine } from './text.ts'

/** Synchronous: the process ends right after it, and a pipe would lose what is still buffered. */
export const writer =
  (descriptor: number) =>
  (text: string): void => {
    try {
      writeSync(descriptor, text)
    } catch {
      // nobody reads it any more
    }
  }

/** Lines of a stack; its first may quote anything. */
const stackOf = ({ stack = '' }: Error): string =>
  stack
    .split('\n')
    .map((line) => `${oneLine(line)}\n`)
    .join('')

/**
 * Prints `error: ...` and `hint: ...`, on stderr by default. A failure that is our defect also shows its stack, so that
 * a report can be useful.
 * @returns the failure, whose `exitCode` is that of the program
 */
export const printFailure = (error: unknown, stderr: (text: string) => void = writer(2)): MeshError => {
  const failure = MeshError.from(error)
  const stack = failure.code === 'internal' && failure.cause instanceof Error ? stackOf(failure.cause) : ''
  stderr(`${stack}error: ${failure.message}\nhint: ${failure.hint}\n`)
  return failure
}
