/** Loggers: JSON lines on stderr, one component name per part, so that stdout stays free for results. */
import { type Logger, pino } from 'pino'

export type { Logger }

/** @param level `silent` | `error` | `warn` | `info` | `debug` | `trace` */
export const createLogger = (component: string, level = 'info'): Logger =>
  pino({ name: component, level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 2, sync: true }))

/** For parts that run without anybody to read a log (tests, one-shot commands). */
export const silentLogger = (): Logger => pino({ level: 'silent' })
