/** Loggers: JSON lines on stderr, one component name per part, so that stdout stays free for results. */
import { type DestinationStream, type Logger, pino } from 'pino'

export type { Logger }

/** No code of ours logs them; this holds should a library or a later change log a request or its headers. */
const secrets = ['authorization', 'apiKey'].flatMap((name) => [name, `*.${name}`, `*.*.${name}`])

/** @param level `silent` | `error` | `warn` | `info` | `debug` | `trace` */
export const createLogger = (component: string, level = 'info', destination: DestinationStream = pino.destination({ fd: 2, sync: true })): Logger =>
  pino({ name: component, level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime, redact: { paths: secrets, censor: '[hidden]' } }, destination)

/** For parts that run without anybody to read a log (tests, one-shot commands). */
export const silentLogger = (): Logger => pino({ level: 'silent' })
