/** The reference pages, written from the tables: commands and options, exit codes, errors. */
import { errorTable, exitCodes, fill } from '../../shared/errors.ts'
import type { OptionName } from '../../shared/options.ts'
import { optionRecord } from '../../shared/options.ts'
import type { Command } from './command.ts'
import { defaultText, flagText } from './option-text.ts'

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ')
const code = (text: string): string => `\`${text.replaceAll('|', '\\|')}\``
const markdownTable = (headings: readonly string[], rows: readonly (readonly string[])[]): string =>
  [headings, headings.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')

/** Options that every command has are described once, below the table. */
const everywhere: readonly OptionName[] = ['logLevel']

const commandRow = (command: Command): string[] => {
  const options = command.options.filter((name) => !everywhere.includes(name)).map((name) => {
    const own = command.defaults[name] === undefined ? '' : ` (${defaultText(name, command)})`
    return code(command.required.includes(name) ? flagText(name) : `[${flagText(name)}]`) + own
  })
  return [code(`mesh ${command.name}`), cell(command.summary), options.join(' ')]
}

const optionRow = (name: OptionName): string[] => {
  const record = optionRecord(name)
  const choices = record.choices === undefined ? '' : `: ${record.choices.join(', ')}`
  const text = defaultText(name)
  return [code(flagText(name)), cell(record.help + choices), text === undefined ? '' : code(text), record.env === undefined ? '' : code(record.env)]
}

/** Commands, then every option once. */
export const cliReference = (commands: readonly Command[]): string => {
  const used = new Set(commands.flatMap((command) => command.options))
  return [
    markdownTable(['command', 'what it does', 'options'], commands.map(commandRow)),
    '',
    'A flag goes before its environment variable, and that before the default. `MESHNET_HOME` (default `~/.meshnet`) is the folder of all state.',
    '',
    markdownTable(['option', 'meaning', 'default', 'environment'], [...used].map(optionRow)),
  ].join('\n')
}

const exitMeanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  ok: 'done',
  bug: 'a defect of Mesh',
  usage: 'the command line or the request is wrong',
  setup: 'this device is not set up for that, or a file cannot be used',
  network: 'the control plane or a peer cannot be reached or understood',
  data: 'a model, a shard or the disk',
  job: 'the job failed: no ring, a worker lost, a time limit',
  refused: 'not allowed: key, certificate or role',
  interrupted: 'interrupted (Ctrl-C) or cancelled',
  unread: 'whoever read the output went away (`mesh ... | head`): ended without a word, a job is cancelled',
}

export const exitCodeReference = (): string =>
  markdownTable(['exit code', 'meaning'], Object.entries(exitCodes).map(([name, value]) => [String(value), exitMeanings[name as keyof typeof exitCodes]]))

/** Every error: what is printed, what to do, exit code, HTTP status. */
export const errorReference = (): string =>
  markdownTable(['code', 'text', 'what to do', 'exit', 'HTTP'], Object.entries(errorTable).map(([name, record]) => [code(name), cell(fill(record.text, {})), cell(fill(record.hint, {})), String(record.exit), String(record.status)]))
