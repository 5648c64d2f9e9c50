/** The program `mesh`. */
import { openHome } from '../shared/home.ts'
import { onParentGone } from '../shared/lifecycle.ts'
import { colourWanted, columnsFromEnvironment } from '../shared/options.ts'
import { watchOutput } from '../shared/output-watch.ts'
import { version } from '../shared/version.ts'
import type { RawOutput } from './cli/command.ts'
import { standardInput } from './cli/standard-input.ts'

const outputOf = (stream: NodeJS.WriteStream): RawOutput => ({
  write: (text) => {
    if (!output.isLost) stream.write(text)
  },
  isTTY: stream.isTTY === true,
  get columns() {
    // some terminals say 0; a pipe has no width: who searches lines finds them whole
    return stream.columns || columnsFromEnvironment() || (stream.isTTY ? 80 : Infinity)
  },
})

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort())
onParentGone(() => interrupted.abort())
// nobody reads our output any more: end, but in order, so that no child process is left and no job runs on
const output = watchOutput()
void output.lost.then(() => interrupted.abort())

const run = async (argv: readonly string[]): Promise<number> => {
  const { runCli } = await import('./cli/run.ts')
  return runCli(argv, {
    home: openHome(),
    stdin: standardInput(),
    stdout: outputOf(process.stdout),
    stderr: outputOf(process.stderr),
    colour: process.stdout.isTTY === true && colourWanted(),
    now: Date.now,
    fetch,
    signal: interrupted.signal,
  })
}

/** Scripts ask for it often, and it needs nothing else of Mesh. */
const showVersion = (): number => {
  outputOf(process.stdout).write(`${version}\n`)
  return 0
}

const argv = process.argv.slice(2)
const code = argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V') ? showVersion() : await run(argv)
// what was written must have left before the process ends, also where pipes are asynchronous
process.stdout.write('', () => process.stderr.write('', () => setImmediate(() => process.exit(code))))
