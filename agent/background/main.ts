/**
 * The program `mesh` without a terminal: what `-d` and installed services run. It logs to files of bounded size, and
 * tells whoever started it, if anybody waits, what it says until it is ready.
 */
import { join } from 'node:path'
import { openHome } from '../../shared/home.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import { createLogger, type DestinationStream } from '../../shared/log.ts'
import type { BackgroundMessage } from '../cli/background.ts'
import type { RawOutput } from '../cli/command.ts'
import { LogFile } from '../cli/log-file.ts'
import { runCli } from '../cli/run.ts'
import { noInput } from '../cli/standard-input.ts'

const home = openHome()
const args = process.argv.slice(2)
const file = new LogFile(join(home.logs, args[0] === 'up' ? 'up.log' : 'agent.log'))
const logDestination: DestinationStream = { write: (line) => file.write(line.trimEnd()) }
const ownLog = createLogger(`mesh ${args[0]}`, 'info', logDestination)

const interrupted = new AbortController()
let isReady = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort())
process.once('disconnect', () => {
  if (!isReady) interrupted.abort() // whoever wanted it is gone
})

const tell = (message: BackgroundMessage): Promise<void> =>
  new Promise((resolve) => {
    if (process.connected) process.send?.(message, () => resolve())
    else resolve()
  })

const plain = { isTTY: false, columns: 80 }
const stderr: RawOutput = {
  ...plain,
  write: (text) => {
    for (const line of text.split('\n')) if (line !== '') ownLog.info(line)
    if (!isReady && !/^error: .*\nhint: /m.test(text)) void tell({ type: 'said', text })
  },
}

const code = await runCli([...args, '--json'], {
  home,
  // its ready line goes through `ready`; a failure is one object
  stdout: {
    ...plain,
    write: (text) => {
      const { error } = JSON.parse(text) as { error?: ErrorReportJson }
      if (error && !isReady) void tell({ type: 'failed', report: error })
    },
  },
  stdin: noInput(),
  stderr,
  colour: false,
  now: Date.now,
  fetch,
  signal: interrupted.signal,
  logDestination,
  background: {
    ready: (info) => {
      isReady = true
      void tell({ type: 'ready', info: { ...info } }).then(() => {
        if (process.connected) process.disconnect()
      })
      process.chdir(home.root) // the folder that it was started in may go away
    },
  },
})
await tell({ type: 'said', text: '' }) // what was told before has left, too
process.exit(code)
