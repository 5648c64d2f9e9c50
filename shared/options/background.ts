/** Running without a terminal, and what is asked of it later. */
import type { OptionRecord } from './record.ts'

export const backgroundOptions = {
  detach: {
    flag: '--detach',
    short: '-d',
    type: 'switch',
    help: 'run in the background: returns when it is ready, and nothing holds the terminal (mesh logs, mesh down)',
  },
  serviceCommand: {
    flag: '--run',
    value: '<command>',
    type: 'string',
    choices: ['up', 'start'],
    help: 'what the service runs (default: mesh up where a group was hosted from this home, else mesh start)',
  },
  system: {
    flag: '--system',
    type: 'switch',
    help: 'started with the machine, for all users (needs root); else with the login of this user',
  },
  print: { flag: '--print', type: 'switch', help: 'show the file and change nothing' },
  follow: { flag: '--follow', short: '-f', type: 'switch', help: 'go on and print what comes, until Ctrl-C' },
  lines: {
    flag: '--lines',
    short: '-n',
    value: '<n>',
    type: 'integer',
    default: 50,
    min: 0,
    max: 1_000_000,
    help: 'how many of the newest lines',
  },
  part: {
    flag: '--part',
    value: '<name>',
    type: 'string',
    choices: ['agent', 'control-plane', 'relay', 'up', 'crash'],
    help: 'one log only; up: what mesh up says of its parts, crash: what processes said that broke down',
  },
  noStart: { flag: '--no-start', type: 'switch', help: 'do not run the agent: mesh start does that' },
} as const satisfies Record<string, OptionRecord>
