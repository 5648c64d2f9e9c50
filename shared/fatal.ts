/** How a Mesh program ends when something failed: one line what went wrong, one line what to do; for programs one object. */
import { writeSync } from 'node:fs'
import { MeshError } from './errors.ts'
import { jsonLine } from './printed.ts'
import { ErrorAnswer } from './schema/common.ts'
import { oneLine } from './text.ts'

// synchronous: the process ends right after it, and a pipe would lose what is still buffered
const writer = (descriptor: number) => (text: string): void => {
  try {
    writeSync(descriptor, text)
  } catch {
    // nobody reads it any more
  }
}

export interface FatalOutput {
  /** Tell programs as well: stdout then has `{"error": {"code", "message", "hint", "fields"}}`, and nothing else. */
  readonly json?: boolean
  stdout?(text: string): void
  stderr?(text: string): void
}

/** Whether a command line asks for JSON, also one that is otherwise wrong. */
export const jsonWanted = (args: readonly string[] = process.argv.slice(2)): boolean =>
  (args.includes('--') ? args.slice(0, args.indexOf('--')) : args).includes('--json')

/** Lines of a stack; its first may quote anything. */
const stackOf = ({ stack = '' }: Error): string => stack.split('\n').map((line) => `${oneLine(line)}\n`).join('')

/**
 * Prints `error: ...` and `hint: ...` on stderr.
 * A failure that is our defect also shows its stack, so that a report can be useful.
 * @returns the exit code for it
 */
export const printFatal = (error: unknown, { json = false, stdout = writer(1), stderr = writer(2) }: FatalOutput = {}): number => {
  const failure = MeshError.from(error)
  const stack = failure.code === 'internal' && failure.cause instanceof Error ? stackOf(failure.cause) : ''
  stderr(`${stack}error: ${failure.message}\nhint: ${failure.hint}\n`)
  if (json) stdout(jsonLine(ErrorAnswer, { error: failure.toReport() }))
  return failure.exitCode
}
