/** How options are described, the same way in `--help` and in docs/cli.md. */
import { type OptionName, optionRecord, type OptionValues } from '../../shared/options.ts'
import type { Command, CommandContext } from './command.ts'

/** `--max-tokens <n>` */
export const flagText = (name: OptionName): string => {
  const { flag, short, value } = optionRecord(name)
  const flags = short === undefined ? flag : `${short}, ${flag}`
  return value === undefined ? flags : `${flags} ${value}`
}

/** The options of the list that were given, as arguments for another command of `mesh`. */
export const argumentsOf = <Name extends OptionName>(
  { isGiven }: Pick<CommandContext, 'isGiven'>,
  names: readonly Name[],
  values: OptionValues<Name>,
): string[] =>
  names.filter(isGiven).flatMap((name) => {
    const { flag, type } = optionRecord(name)
    const value: unknown = values[name]
    return type === 'switch' ? [flag] : (Array.isArray(value) ? value : [value]).map((one) => `${flag}=${String(one)}`)
  })

/** Default of an option in a command, as people would type it; `undefined` where there is none. */
export const defaultText = (name: OptionName, command?: Pick<Command, 'defaults'>): string | undefined => {
  const value = command?.defaults[name] ?? optionRecord(name).default
  if (value === undefined) return undefined
  return typeof value === 'string' && /\s/.test(value) ? `"${value}"` : String(value)
}

/** `how weights are held (f32, q8, q4; default: q8; env: ...)` */
export const describeOption = (name: OptionName, command: Pick<Command, 'defaults' | 'required'>): string => {
  const record = optionRecord(name)
  const text = defaultText(name, command)
  const notes = [
    ...(command.required.includes(name) ? ['required'] : []),
    ...(record.choices ? [record.choices.join(', ')] : []),
    ...(text === undefined ? [] : [`default: ${text}`]),
    ...(record.env === undefined ? [] : [`env: ${record.env}`]),
  ]
  // what the table says of the default does not hold where a command has its own
  const help = command.defaults[name] === undefined ? record.help : record.help.replace(/ \(default: [^)]*\)$/, '')
  return notes.length === 0 ? help : `${help} (${notes.join('; ')})`
}
