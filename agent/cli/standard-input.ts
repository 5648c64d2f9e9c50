/** Standard input of this process, and that of a process without one. */
import { fstatSync } from 'node:fs'
import { Readable } from 'node:stream'
import { isatty } from 'node:tty'
import type { Input } from './command.ts'

export const standardInput = (): Input => {
  const kind = fstatSync(0) // a closed one was opened anew as /dev/null when Node started
  return {
    isTTY: isatty(0),
    mayIdle: kind.isFIFO() || kind.isSocket(),
    get stream() {
      return process.stdin
    },
  }
}

export const noInput = (): Input => ({ isTTY: false, mayIdle: false, stream: Readable.from([]) })
