/** How options are described, the same way in `--help` and in the README. */
import { type OptionName, optionRecord } from '../../shared/options.ts'
import type { Command } from './command.ts'

/** `--max-tokens <n>` */
export const flagText = (name: OptionName): string => {
  const record = optionRecord(name)
  return record.value === undefined ? record.flag : `${record.flag} ${record.value}`
}

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
