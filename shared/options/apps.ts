/** Apps and their keys. */
import { limits } from '../limits.ts'
import type { OptionRecord } from './record.ts'

export const appOptions = {
  apiKey: {
    flag: '--api-key',
    value: '<key>',
    type: 'string',
    env: 'MESH_API_KEY',
    secret: '--api-key-file',
    help: 'act as an app with this key of mesh api-key-create; on the command line every user of the machine sees it',
  },
  apiKeyFile: {
    flag: '--api-key-file',
    value: '<file>',
    type: 'string',
    env: 'MESH_API_KEY_FILE',
    help: 'the same, with the key that is the first line of a file',
  },
  key: { flag: '--key', value: '<id>', type: 'string', help: 'id of an API key, from mesh api-key-list' },
  quota: {
    flag: '--quota',
    value: '<tokens>',
    type: 'integer',
    min: 1,
    max: limits.keyTokens,
    help: 'tokens, of prompts and answers together, that it may use in a day (UTC); default: as many as it wants',
  },
} as const satisfies Record<string, OptionRecord>
