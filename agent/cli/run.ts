/** From arguments to an exit code: the whole of `mesh` except for the process around it. */
import { MeshError, exitCodes } from '../../shared/errors.ts'
import { jsonWanted, printFatal } from '../../shared/fatal.ts'
import type { Home } from '../../shared/home.ts'
import { createLogger, type DestinationStream, type Logger } from '../../shared/log.ts'
import { isOptionGiven, type OptionName, optionRecord, readOptions } from '../../shared/options.ts'
import { terminalText } from '../../shared/text.ts'
import type { BackgroundParent, CommandContext, Input, Output, RawOutput } from './command.ts'
import { commandsFor } from './commands.ts'
import { checkParts } from './installed-parts.ts'
import { flagText } from './option-text.ts'
import { commandIn, type Given, parseArguments } from './parse.ts'

/** What the process lends to a command. */
export interface Surroundings {
  readonly home: Home
  readonly stdin: Input
  readonly stdout: RawOutput
  readonly stderr: RawOutput
  readonly colour: boolean
  readonly now: () => number
  readonly fetch: typeof fetch
  readonly signal: AbortSignal
  readonly background?: BackgroundParent
  readonly logDestination?: DestinationStream
}

/**
 * The one place where text of others meets a terminal: names, reasons and errors, also where a command forgot that they
 * are such.
 */
const guarded = (output: RawOutput): Output => ({
  write: (text) => output.write(output.isTTY ? terminalText(text) : text),
  control: (sequence) => output.write(sequence),
  isTTY: output.isTTY,
  get columns() {
    return output.columns
  },
})

/** Shows every request at `--log-level debug`. */
const loggedFetch =
  (send: typeof fetch, logger: Logger, now: () => number): typeof fetch =>
  async (input, init) => {
    const startedAt = now()
    const method = init?.method ?? 'GET'
    const url = input instanceof Request ? input.url : String(input)
    try {
      const answer = await send(input, init)
      logger.debug({ method, url, status: answer.status, ms: now() - startedAt }, 'request')
      return answer
    } catch (error) {
      logger.debug({ method, url, ms: now() - startedAt, error: MeshError.from(error).message }, 'request failed')
      throw error
    }
  }

/** Arguments stand in the list of processes, for all who use the machine. */
const warnOfSecrets = (given: Given, stderr: Output): void => {
  for (const name of Object.keys(given) as OptionName[]) {
    const { flag, env, secret } = optionRecord(name)
    if (secret !== undefined)
      stderr.write(
        `warning: every user of this machine can see what ${flag} is given (ps shows it): use ${secret} <file>, ` +
          `or the variable ${env}\n`,
      )
  }
}

/** Runs one command line. Never throws. @returns the exit code (`exitCodes` in `shared/errors.ts`) */
export const runCli = async (argv: readonly string[], surroundings: Surroundings): Promise<number> => {
  const around = { ...surroundings, stdout: guarded(surroundings.stdout), stderr: guarded(surroundings.stderr) }
  const commands = await commandsFor(argv)
  try {
    const parsed = parseArguments(commands, argv)
    if (parsed.kind === 'text') {
      around.stdout.write(parsed.text)
      return exitCodes.ok
    }
    const { command } = parsed
    checkParts(command.name, command.needs)
    const defaults = Object.fromEntries(Object.entries(command.defaults).map(([name, value]) => [name, String(value)]))
    const values = readOptions(command.options, parsed.given, undefined, defaults)
    for (const name of command.required)
      if (values[name] === undefined)
        throw new MeshError('usage', { problem: `mesh ${command.name} needs ${flagText(name)}` })
    const logger = createLogger('cli', values.logLevel, around.logDestination)
    const context: CommandContext = {
      ...around,
      logger,
      fetch: loggedFetch(around.fetch, logger, around.now),
      isGiven: (name) => isOptionGiven(name, parsed.given),
      rawArguments: parsed.rest,
    }
    warnOfSecrets(parsed.given, around.stderr)
    const code = await command.run(context, values)
    return around.signal.aborted && !command.service ? exitCodes.interrupted : (code ?? exitCodes.ok)
  } catch (error) {
    const isInterrupted = around.signal.aborted && !(error instanceof MeshError)
    const failure = isInterrupted ? new MeshError('interrupted') : MeshError.from(error)
    const named = commandIn(commands, argv)
    return printFatal(named === undefined ? failure : failure.withHelp(named.name), {
      json: jsonWanted(argv),
      stdout: around.stdout.write,
      stderr: around.stderr.write,
    })
  }
}
