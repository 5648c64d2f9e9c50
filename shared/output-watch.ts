/**
 * What a Mesh program does when its output can no longer be written: the reader went away (`mesh ... | head`), the disk
 * is full.
 */
import { exitCodes, MeshError } from './errors.ts'
import { printFailure } from './failure-lines.ts'

export interface OutputWatch {
  /** Nothing more need be written. */
  readonly isLost: boolean
  /** Settles, with the reason, when it is; else never. */
  readonly lost: Promise<string>
}

/**
 * Watches the standard streams of this process and decides how it ends once one of them fails: without a word and with
 * the exit code `unread` where nobody reads any more, else with the reason. Without it Node would end with a stack.
 */
export const watchOutput = (): OutputWatch => {
  const { promise: lost, resolve } = Promise.withResolvers<string>()
  let failure: NodeJS.ErrnoException | undefined
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      failure ??= error
      resolve(`output lost: ${error.message}`)
    })
  }
  process.once('exit', () => {
    if (failure === undefined) return
    const isUnread = failure.code === 'EPIPE' || failure.code === 'ECONNRESET'
    process.exitCode = isUnread
      ? exitCodes.unread
      : printFailure(new MeshError('stateUnwritable', { file: 'the output', problem: failure.message })).exitCode
  })
  return {
    lost,
    get isLost() {
      return failure !== undefined
    },
  }
}
