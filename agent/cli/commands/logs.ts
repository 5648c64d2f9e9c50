import { setTimeout as pause } from 'node:timers/promises'
import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { logText } from '../../../shared/log-text.ts'
import { Time } from '../../../shared/schema/common.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { LogFollower, type LogLine, logParts, newestLines } from '../log-files.ts'
import { findService, serviceText } from '../service-record.ts'

/** Milliseconds between two looks at the files: quick for people, nothing for the disk. */
const lookMs = 250

const LogAnswer = Type.Object({
  lines: Type.Array(
    Type.Object({
      time: Time,
      part: Type.String({ description: 'name of the log' }),
      level: Type.String(),
      message: Type.String(),
      line: Type.String({ description: 'as it was logged, mostly a JSON object' }),
    }),
    { description: 'oldest first' },
  ),
})

/** For people in a terminal, else one JSON object a line, whatever a process wrote. */
const lineText = (context: CommandContext, { text, part, entry, time }: LogLine): string => {
  if (context.stdout.isTTY)
    return `${logText({ ...entry, time, name: entry.name ?? part }, { colour: context.colour, withDay: true })}\n`
  return text.startsWith('{') && entry.message !== text
    ? `${text}\n`
    : `${JSON.stringify({ time: new Date(time).toISOString(), name: part, msg: text })}\n`
}

/** Prints what comes. What came while the newest lines were read is among them already. */
const follow = async (
  follower: LogFollower,
  newest: readonly LogLine[],
  print: (lines: readonly LogLine[]) => void,
  signal: AbortSignal,
): Promise<never> => {
  const printed = new Set(newest.map(({ part, text }) => `${part} ${text}`))
  print(follower.read().filter(({ part, text }) => !printed.has(`${part} ${text}`)))
  for (;;) {
    await pause(lookMs, undefined, { signal })
    print(follower.read())
  }
}

/** Why there is nothing to read. */
const emptyText = ({ home }: CommandContext): string => {
  const service = findService(home)
  if (service === undefined) return `nothing was logged in ${home.logs} yet: mesh up -d and mesh start -d log there\n`
  return service.background || service.command === 'up'
    ? 'nothing was logged yet\n'
    : `${serviceText(service)}, logs there\n`
}

export const logs = defineCommand({
  name: 'logs',
  summary: 'what mesh up and the agent in the background logged, newest last',
  details:
    'All logs of this home merged by time: lines for people in a terminal, JSON in a pipe. ' +
    'The files are in MESHNET_HOME/logs, 4 MiB each and the 4 MiB before.',
  options: ['part', 'lines', 'follow', 'json'],
  bare: 'part',
  examples: ['mesh logs', 'mesh logs -f', 'mesh logs agent -n 200'],
  json: LogAnswer,
  run: async (context, values) => {
    const { home, stdout, stderr, signal } = context
    if (values.json && values.follow)
      throw new MeshError('usage', {
        problem:
          '--json prints one answer and --follow has no end: leave out --json, ' +
          'in a pipe every line is JSON (mesh logs -f | cat)',
      })
    const follower = values.follow ? new LogFollower(home, values.part) : undefined
    try {
      const newest = newestLines(home, values.part === undefined ? logParts(home) : [values.part], values.lines)
      if (values.json) {
        context.printJson({
          lines: newest.map(({ time, part, text, entry }) => ({
            time: Math.round(time),
            part,
            level: entry.level,
            message: entry.message,
            line: text,
          })),
        })
        return
      }
      const print = (lines: readonly LogLine[]): void => {
        if (lines.length > 0) stdout.write(lines.map((line) => lineText(context, line)).join(''))
      }
      if (newest.length === 0 && values.lines > 0) stderr.write(emptyText(context))
      print(newest)
      if (follower) await follow(follower, newest, print, signal)
    } finally {
      follower?.stop()
    }
  },
})
