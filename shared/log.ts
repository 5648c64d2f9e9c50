/**
 * Loggers: JSON lines on stderr (in a terminal, lines for people), one component name per part, so that stdout stays
 * free for results.
 */
import { type DestinationStream, type Logger, pino } from 'pino'
import { logText, parseLogLine } from './log-text.ts'
import { colourWanted } from './options.ts'

export type { DestinationStream, Logger }

/** No code of ours logs them; this holds should a library or a later change log a request or its headers. */
const secrets = ['authorization', 'apiKey'].flatMap((name) => [name, `*.${name}`, `*.*.${name}`])

/** Lines kept while stderr takes none (it may be a file on a full disk), in bytes. */
const keptBytes = 2 ** 20

/** Where people look, as people read. */
const terminal = (): DestinationStream => {
  const colour = colourWanted()
  return { write: (line) => void process.stderr.write(`${logText(parseLogLine(line.trimEnd()), { colour })}\n`) }
}

/** A line that cannot be written costs the line: without a listener the error would end the process. */
const standardError = (): DestinationStream => {
  if (process.stderr.isTTY) return terminal()
  const stream = pino.destination({ fd: 2, sync: true, maxLength: keptBytes })
  stream.on('error', () => {})
  return stream
}

/** @param level `silent` | `error` | `warn` | `info` | `debug` | `trace` */
export const createLogger = (
  component: string,
  level = 'info',
  destination: DestinationStream = standardError(),
): Logger =>
  pino(
    {
      name: component,
      level,
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: secrets, censor: '[hidden]' },
    },
    destination,
  )

/** For parts that run without anybody to read a log (tests, one-shot commands). */
export const silentLogger = (): Logger => pino({ level: 'silent' })
