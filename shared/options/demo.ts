/** The demo, and what all programs log. */
import type { OptionRecord } from './record.ts'

export const demoOptions = {
  workers: { flag: '--workers', value: '<n>', type: 'integer', default: 2, min: 1, max: 8, help: 'agents to start' },
  keep: { flag: '--keep', type: 'switch', help: 'keep the temporary folder' },
  logLevel: {
    flag: '--log-level',
    value: '<level>',
    type: 'string',
    env: 'MESHNET_LOG',
    choices: ['silent', 'error', 'warn', 'info', 'debug', 'trace'],
    default: 'info',
    help: 'how much is logged',
  },
} as const satisfies Record<string, OptionRecord>
