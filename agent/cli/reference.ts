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

/** Options that every command has are described once, at the top. */
const everywhere: readonly OptionName[] = ['json', 'logLevel']

const optionRow = (name: OptionName, command?: Command): string[] => {
  const record = optionRecord(name)
  const choices = record.choices === undefined ? '' : `: ${record.choices.join(', ')}`
  const required = command?.required.includes(name) ? ' (required)' : ''
  const text = defaultText(name, command)
  return [
    code(flagText(name)),
    cell(record.help + choices + required),
    text === undefined ? '' : code(text),
    record.env === undefined ? '' : code(record.env),
  ]
}

const optionTable = (names: readonly OptionName[], command?: Command): string =>
  markdownTable(
    ['option', 'meaning', 'default', 'environment'],
    names.map((name) => optionRow(name, command)),
  )

const commandSection = (command: Command): string => {
  const options = command.options.filter((name) => !everywhere.includes(name))
  const parts = [
    `## mesh ${command.name}`,
    cell(command.summary),
    ...(command.details === undefined ? [] : [cell(command.details)]),
    ...(options.length === 0 ? [] : [optionTable(options, command)]),
    ['```sh', ...command.examples, '```'].join('\n'),
  ]
  return parts.join('\n\n')
}

/** All commands in a table that leads to a section for each: what it does, its options, its examples. */
export const cliReference = (commands: readonly Command[]): string =>
  [
    markdownTable(
      ['command', 'what it does'],
      commands.map(({ name, summary }) => [`[${code(`mesh ${name}`)}](#mesh-${name})`, cell(summary)]),
    ),
    `Every command takes these, and \`--help\`:`,
    optionTable(everywhere),
    ...commands.map(commandSection),
  ].join('\n\n')

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
  markdownTable(
    ['exit code', 'meaning'],
    Object.entries(exitCodes).map(([name, value]) => [String(value), exitMeanings[name as keyof typeof exitCodes]]),
  )

/** Every error: what is printed, what to do, exit code, HTTP status. */
export const errorReference = (): string =>
  markdownTable(
    ['code', 'text', 'what to do', 'exit', 'HTTP'],
    Object.entries(errorTable).map(([name, record]) => [
      code(name),
      cell(fill(record.text, {})),
      cell(fill(record.hint, {})),
      String(record.exit),
      String(record.status),
    ]),
  )
