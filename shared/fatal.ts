/**
 * How a Mesh program ends when something failed: one line what went wrong, one line what to do; for programs one
 * object.
 */
import { printFailure, writer } from './failure-lines.ts'
import { jsonLine } from './printed.ts'
import { ErrorAnswer } from './schema/common.ts'

export interface FatalOutput {
  /** Tell programs as well: stdout then has `{"error": {"code", "message", "hint", "fields"}}`, and nothing else. */
  readonly json?: boolean
  stdout?(text: string): void
  stderr?(text: string): void
}

/** Whether a command line asks for JSON, also one that is otherwise wrong. */
export const jsonWanted = (args: readonly string[] = process.argv.slice(2)): boolean =>
  (args.includes('--') ? args.slice(0, args.indexOf('--')) : args).includes('--json')

/**
 * Prints what `printFailure` does, and the same as JSON where that is wanted.
 * @returns the exit code for it
 */
export const printFatal = (error: unknown, { json = false, stdout = writer(1), stderr }: FatalOutput = {}): number => {
  const failure = printFailure(error, stderr)
  if (json) stdout(jsonLine(ErrorAnswer, { error: failure.toReport() }))
  return failure.exitCode
}
