/** The command line, parsed by commander from the option table and the list of commands. */
import { Command as Parser, CommanderError, Option } from 'commander'
import { MeshError } from '../../shared/errors.ts'
import { type OptionName, optionRecord } from '../../shared/options.ts'
import { version } from '../../shared/version.ts'
import type { Command } from './command.ts'
import { joinWords } from './commands.ts'
import { describeOption, flagText } from './option-text.ts'
import { unknownCommand } from './other-words.ts'

export type Given = Partial<Record<OptionName, string | boolean | string[]>>

export type Parsed =
  | { readonly kind: 'run'; readonly command: Command; readonly given: Given; readonly rest: readonly string[] }
  /** Help or version: to be printed, and that is all. */
  | { readonly kind: 'text'; readonly text: string }

const toOption = (command: Command, name: OptionName): Option => {
  const record = optionRecord(name)
  const option = new Option(flagText(name), describeOption(name, command))
  if (record.type === 'list')
    option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value])
  return option
}

const epilogue = (command: Command): string => {
  const details = command.details === undefined ? '' : `\n${command.details}\n`
  return `${details}\nExamples:\n${command.examples.map((example) => `  ${example}`).join('\n')}\n`
}

const programHelp = `
State is kept in ~/.meshnet, or in the folder that MESHNET_HOME names.
Every command explains itself: mesh inference --help

Examples:
  mesh demo              two agents on this machine, one prompt
  mesh up -d             host a group here, in the background; prints what other devices run
  mesh join INVITE -d    join the group of somebody else
`

/** `help status` is `status --help`, and `help` alone is `--help`. */
const helpAsFlag = (
  commands: readonly Command[],
  [first, ...rest]: readonly string[],
): readonly string[] | undefined => {
  if (first !== 'help') return undefined
  const [word = '--help'] = joinWords(rest) ?? rest
  return commands.some(({ name }) => name === word) ? [word, '--help'] : [word]
}

/** The command that a command line names, also where the rest of it is wrong. */
export const commandIn = (commands: readonly Command[], typed: readonly string[]): Command | undefined => {
  const [first] = joinWords(typed) ?? typed
  return commands.find(({ name }) => name === first)
}

/** @throws MeshError `usage` with the nearest suggestion */
export const parseArguments = (commands: readonly Command[], typed: readonly string[]): Parsed => {
  const argv = helpAsFlag(commands, typed) ?? joinWords(typed) ?? typed
  let found: Parsed | undefined
  let text = ''
  const collect = {
    writeOut: (part: string) => (text += part),
    writeErr: () => undefined,
    getOutHelpWidth: () => 110,
    getErrHelpWidth: () => 110,
  }
  const program = new Parser('mesh')
    .description('Pools the computers of a group of people and runs language models on them that fit on none.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .showSuggestionAfterError(true)
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .configureOutput(collect)
    .exitOverride()
    .addHelpText('after', programHelp)
  for (const command of commands) {
    const parser = program
      .command(command.name)
      .description(command.summary)
      .helpOption('-h, --help', 'print this help')
    for (const name of command.options) parser.addOption(toOption(command, name))
    parser.addHelpText('after', epilogue(command))
    const { bare } = command
    if (bare !== undefined) parser.argument(`[${optionRecord(bare).flag.slice(2)}]`, optionRecord(bare).help)
    parser.action((...parts: readonly unknown[]) => {
      const options = parts[bare === undefined ? 0 : 1] as Record<string, string | boolean | string[]>
      const named = byName(command, options)
      const alone = bare === undefined || parts[0] === undefined ? {} : { [bare]: String(parts[0]) }
      if (bare !== undefined && bare in alone && bare in named) {
        throw new MeshError('usage', {
          problem: `give ${optionRecord(bare).flag} or the same without the flag, not both`,
        })
      }
      found = { kind: 'run', command, given: { ...alone, ...named }, rest: argv.slice(argv.indexOf(command.name) + 1) }
    })
  }
  if (argv.length === 0) throw new MeshError('usage', { problem: 'no command is given' })
  try {
    program.parse(argv, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return { kind: 'text', text }
    if (error.code === 'commander.unknownCommand') throw unknownCommand(commands, argv[0], similarIn(error.message))
    throw new MeshError('usage', { problem: problemText(error.message) }, error)
  }
  return found ?? { kind: 'text', text }
}

/** `--max-tokens` is `maxTokens` for commander; the option table may call it otherwise. */
const byName = (command: Command, options: Record<string, string | boolean | string[]>): Given => {
  const given: Given = {}
  for (const name of command.options) {
    const option = new Option(optionRecord(name).flag)
    const value = options[option.attributeName()]
    // `--no-start` is `start` for commander, and true until it is given
    if (option.negate) {
      if (value === false) given[name] = true
    } else if (value !== undefined) given[name] = value
  }
  return given
}

/** `(Did you mean status?)` and `(Did you mean one of start, status?)`, as commander ends its message. */
const similarIn = (message: string): string[] =>
  /Did you mean (?:one of )?([^?]*)\?/.exec(message)?.[1].split(', ') ?? []

const problemText = (message: string): string =>
  message
    .replace(/^error: /, '')
    .replace(/^(too many arguments .*Expected 1 argument .*)$/, '$1 Text with spaces wants quotes.')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/^\(outputHelp\)$/, 'no command is given')
