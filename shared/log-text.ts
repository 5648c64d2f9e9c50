/** Lines of logs, which are JSON, as people read them. */
import { oneLine } from './text.ts'

export interface LogEntry {
  /** Milliseconds since 1970; absent where the line does not say. */
  readonly time?: number
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'
  /** The part that wrote it. */
  readonly name?: string
  readonly message: string
  /** Everything else that the line holds. */
  readonly fields: Readonly<Record<string, unknown>>
}

/** pino's numbers. */
const levels: readonly (readonly [atLeast: number, level: LogEntry['level'], colour: number])[] = [
  [60, 'fatal', 31],
  [50, 'error', 31],
  [40, 'warn', 33],
  [30, 'info', 32],
  [20, 'debug', 36],
  [0, 'trace', 90],
]
/** Longest value that is shown; the file has all of it. */
const valueLength = 400

const textOr = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)

/** Reads one line; a line that is no JSON object (the last words of a process) is a message. */
export const parseLogLine = (line: string): LogEntry => {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    value = undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { level: line.startsWith('error: ') ? 'error' : 'info', message: line, fields: {} }
  const { level, time, name, msg, ...fields } = value as Record<string, unknown>
  const at = typeof time === 'number' ? time : Date.parse(textOr(time) ?? '')
  return {
    ...(Number.isFinite(at) ? { time: at } : {}),
    level: levels.find(([atLeast]) => typeof level === 'number' && level >= atLeast)?.[1] ?? 'info',
    name: textOr(name),
    message: textOr(msg) ?? '',
    fields,
  }
}

const two = (value: number): string => String(value).padStart(2, '0')

/** Of the clock on the wall. */
const timeText = (time: number, withDay: boolean): string => {
  const at = new Date(time)
  const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':')
  return withDay ? `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock}` : clock
}

const valueText = (value: unknown): string => {
  const text = oneLine(typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined'))
  const short = text.length > valueLength ? `${text.slice(0, valueLength)}...` : text
  return typeof value === 'string' && /[\s"=]|^$/.test(short) ? JSON.stringify(short) : short
}

/** An error that was logged: its stack, or what it has instead. */
const stackOf = (error: unknown): string[] => {
  const stack = typeof error === 'object' && error !== null && 'stack' in error ? textOr(error.stack) : undefined
  return (stack ?? '')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => `    ${oneLine(line.trim())}`)
}

export interface LogTextOptions {
  /** Escape sequences are welcome. */
  readonly colour: boolean
  /** Show the day beside the time: for logs of more than now. */
  readonly withDay?: boolean
}

/**
 * `14:03:07 WARN  agent: no slot at relay  relay=/ip4/...`, without a line end; the stack of an error on lines of its
 * own.
 */
export const logText = (
  { time, level, name, message, fields }: LogEntry,
  { colour, withDay = false }: LogTextOptions,
): string => {
  const paint = (code: number, text: string): string =>
    colour ? `\u001b[${code}m${text}\u001b[${code === 2 ? 22 : 39}m` : text
  const code = levels.find(([, known]) => known === level)?.[2] ?? 32
  const { err, ...rest } = fields
  const values = Object.entries(rest).map(([key, value]) => `${oneLine(key)}=${valueText(value)}`)
  const head = [
    ...(time === undefined ? [] : [paint(2, timeText(time, withDay))]),
    paint(code, level.toUpperCase().padEnd(5)),
    `${name === undefined ? '' : `${oneLine(name)}: `}${oneLine(message)}`,
  ].join(' ')
  return [`${head}${values.length === 0 ? '' : `  ${paint(2, values.join(' '))}`}`, ...stackOf(err)].join('\n')
}
