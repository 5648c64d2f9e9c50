/**
 * Every option of every Mesh program, once. The command line, environment variables, `--help` and the README table
 * derive from these records; this file is the only reader of `process.env`.
 *
 * Precedence: flag, then environment variable, then default.
 */
import { MeshError, problemOf } from './errors.ts'
import { isModelId } from './ids.ts'
import { parseBytes, parseDuration } from './units.ts'
import { limits } from './limits.ts'
import { formatBytes, formatDuration } from './words.ts'

/** Where the services listen unless told otherwise. */
export const defaultPorts = { controlPlane: 8080, relay: 4001 } as const

interface OptionRecord {
  readonly flag: `--${string}`
  /** One letter for what is typed often. */
  readonly short?: `-${string}`
  /** How the value is shown in help; absent for a switch. */
  readonly value?: string
  readonly type: 'string' | 'integer' | 'number' | 'switch' | 'duration' | 'bytes' | 'list' | 'integers'
  readonly env?: string
  /** Not for the command line, which others can list: the flag to use instead, besides the environment. */
  readonly secret?: `--${string}`
  readonly default?: string | number | boolean
  readonly choices?: readonly string[]
  /** What a text must be. */
  readonly form?: { readonly name: string; readonly matches: (text: string) => boolean }
  readonly min?: number
  readonly max?: number
  readonly help: string
}

export const optionTable = {
  // device and pools
  networkId: {
    flag: '--network-id',
    value: '<name>',
    type: 'string',
    help: 'name of the network this device belongs to',
  },
  name: { flag: '--name', value: '<text>', type: 'string', help: 'a name people will recognise' },
  poolId: {
    flag: '--pool-id',
    value: '<hex>',
    type: 'string',
    env: 'MESHNET_POOL',
    help: 'the pool, or the first eight digits of its id or more; may be left out when the device is in one pool',
  },
  adminsReadText: {
    flag: '--admins-read-text',
    type: 'switch',
    help: 'make the pool one whose admins read prompts and answers of all members; signed when it is made, and never changed (else: the submitter alone)',
  },
  poolRootPubkey: {
    flag: '--pool-root-pubkey',
    value: '<hex>',
    type: 'string',
    help: 'root public key of the pool, from mesh pool-list of a member',
  },
  invite: {
    flag: '--invite',
    value: '<line>',
    type: 'string',
    help: 'the line that mesh up or mesh pool-invite printed (-: read it from standard input)',
  },
  uses: {
    flag: '--uses',
    value: '<n>',
    type: 'integer',
    default: 1,
    min: 1,
    max: 1000,
    help: 'how many devices may come in by it',
  },
  expires: {
    flag: '--expires',
    value: '<time>',
    type: 'duration',
    default: '24h',
    min: 1000,
    max: 366 * 86400e3,
    help: 'how long it holds',
  },
  role: {
    flag: '--role',
    value: '<role>',
    type: 'string',
    choices: ['member', 'admin'],
    default: 'member',
    help: 'what the device may do in the pool',
  },
  yes: {
    flag: '--yes',
    type: 'switch',
    help: 'do not ask: change what others know of a device or a control plane that is set up',
  },
  device: {
    flag: '--device',
    value: '<id>',
    type: 'string',
    help: 'a device, or the first eight digits of it or more',
  },
  file: { flag: '--file', value: '<file>', type: 'string', help: 'file with the encrypted key' },
  passphraseFile: {
    flag: '--passphrase-file',
    value: '<file>',
    type: 'string',
    help: 'file whose first line is the passphrase (default: asked for)',
  },
  controlPlane: {
    flag: '--control-plane',
    value: '<url>',
    type: 'string',
    env: 'MESHNET_CONTROL_PLANE',
    help: 'address of the control plane (default: the one given to mesh init)',
  },
  controlPlaneKey: {
    flag: '--control-plane-key',
    value: '<hex>',
    type: 'string',
    env: 'MESHNET_CONTROL_PLANE_KEY',
    form: {
      name: '64 hex digits (mesh control-plane-key on the machine of the control plane prints them)',
      matches: (text) => /^[0-9a-f]{64}$/.test(text),
    },
    help: 'key of the control plane, by which it is known (default: the one that this device knows)',
  },
  wait: { flag: '--wait', value: '<time>', type: 'duration', default: '60s', min: 0, help: 'how long to wait' },
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
  // apps
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
  // models and rings
  modelId: {
    flag: '--model-id',
    value: '<name>',
    type: 'string',
    env: 'MESHNET_MODEL',
    default: 'tiny-story',
    form: { name: 'a name such as llama, owner/name or name:tag (letters, digits, . _ -)', matches: isModelId },
    help: 'the model',
  },
  modelDir: {
    flag: '--model-dir',
    value: '<folder>',
    type: 'string',
    help: 'Hugging Face folder of the model; without --model-id its name is that of the folder',
  },
  quant: {
    flag: '--quant',
    value: '<kind>',
    type: 'string',
    choices: ['f32', 'q8', 'q4'],
    default: 'q8',
    help: 'how weights are held',
  },
  share: {
    flag: '--share',
    value: '<weight>',
    type: 'number',
    default: 1,
    min: 0.001,
    max: 1000,
    help: 'weight of this device when columns are shared out',
  },
  noServe: { flag: '--no-serve', type: 'switch', help: 'take part in serving no model' },
  maxShards: {
    flag: '--max-shards',
    value: '<size>',
    type: 'bytes',
    env: 'MESHNET_MAX_SHARDS',
    min: 0,
    max: 2 ** 60,
    help: 'disk that shards of models may take together; beyond it those that no ring uses go, the one unused for longest first (default: a tenth of the disk)',
  },
  clean: { flag: '--clean', type: 'switch', help: 'remove the shards that no ring of this device uses' },
  // memory
  memory: { flag: '--memory', value: '<size>', type: 'bytes', min: 1e6, max: 2 ** 50, help: 'memory to commit' },
  cooldown: {
    flag: '--cooldown',
    value: '<time>',
    type: 'duration',
    min: 0,
    max: 365 * 86400e3,
    help: 'how long it stays committed after mesh unlock-resources (default: 24h, or as before)',
  },
  // inference
  prompt: {
    flag: '--prompt',
    value: '<text>',
    type: 'string',
    help: 'text to continue (-: read it from standard input)',
  },
  promptFile: {
    flag: '--prompt-file',
    value: '<file>',
    type: 'string',
    help: 'file with the text to continue (-: standard input)',
  },
  sealed: {
    flag: '--sealed',
    type: 'switch',
    help: 'seal prompt and answer between this machine and rank 0 of the ring: hides text from the control plane and from members that are not in the ring; it still sees model, settings, numbers of tokens and times',
  },
  chat: {
    flag: '--chat',
    type: 'switch',
    help: 'treat the prompt as a question: apply the chat template of the model',
  },
  special: {
    flag: '--special',
    type: 'switch',
    help: 'take text that is written like a special token of the model (<|end|>) as that token; else it is text, in prompts and in questions',
  },
  maxTokens: {
    flag: '--max-tokens',
    value: '<n>',
    type: 'integer',
    default: 200,
    min: 1,
    max: 1_000_000,
    help: 'stop after this many tokens',
  },
  temperature: {
    flag: '--temperature',
    value: '<t>',
    type: 'number',
    default: 0.7,
    min: 0,
    max: 10,
    help: '0 is greedy',
  },
  topP: {
    flag: '--top-p',
    value: '<p>',
    type: 'number',
    default: 0.9,
    min: 0,
    max: 1,
    help: 'keep the likeliest tokens of this total probability',
  },
  topK: {
    flag: '--top-k',
    value: '<n>',
    type: 'integer',
    default: 0,
    min: 0,
    max: 1024,
    help: 'keep the n likeliest tokens (0: all)',
  },
  minP: {
    flag: '--min-p',
    value: '<p>',
    type: 'number',
    default: 0,
    min: 0,
    max: 1,
    help: 'drop tokens less likely than this times the likeliest',
  },
  repetitionPenalty: {
    flag: '--repetition-penalty',
    value: '<x>',
    type: 'number',
    default: 1,
    min: 0.1,
    max: 10,
    help: 'above 1 makes used tokens less likely',
  },
  seed: {
    flag: '--seed',
    value: '<n>',
    type: 'integer',
    min: 0,
    max: 2 ** 32 - 1,
    help: 'same seed, same text: always on the same ring, on any ring with f32, often with q8 and q4 (default: random)',
  },
  stop: { flag: '--stop', value: '<text>', type: 'list', help: 'end the text before this string (may be repeated)' },
  since: {
    flag: '--since',
    value: '<time>',
    type: 'string',
    help: 'only what is newer: an age (7d, 12h) or a date (2027-01-31)',
  },
  csv: { flag: '--csv', type: 'switch', help: 'print comma-separated values with a head line' },
  json: { flag: '--json', type: 'switch', help: 'print one JSON object instead of text' },
  // services
  host: {
    flag: '--host',
    value: '<address>',
    type: 'string',
    env: 'MESHNET_HOST',
    default: '127.0.0.1',
    help: 'address to listen on (0.0.0.0: all)',
  },
  port: {
    flag: '--port',
    value: '<n>',
    type: 'integer',
    env: 'MESHNET_PORT',
    min: 0,
    max: 65535,
    help: 'port to listen on (0: any free one)',
  },
  plainHttp: {
    flag: '--plain-http',
    type: 'switch',
    help: 'serve plain HTTP to other machines too: everybody on the way reads and changes what programs send that do not use TLS',
  },
  tlsCert: {
    flag: '--tls-cert',
    value: '<file>',
    type: 'string',
    env: 'MESHNET_TLS_CERT',
    help: 'certificate in PEM, with its chain, for browsers and programs that ask for a name it bears (devices go by the key of the control plane)',
  },
  tlsKey: {
    flag: '--tls-key',
    value: '<file>',
    type: 'string',
    env: 'MESHNET_TLS_KEY',
    help: 'key of that certificate in PEM; both files are read again when they change',
  },
  relayPort: {
    flag: '--relay-port',
    value: '<n>',
    type: 'integer',
    default: defaultPorts.relay,
    min: 0,
    max: 65535,
    help: 'port of the relay (0: any free one)',
  },
  data: {
    flag: '--data',
    value: '<folder>',
    type: 'string',
    help: 'where the database or key is kept (default: under MESHNET_HOME)',
  },
  announce: {
    flag: '--announce',
    value: '<multiaddr>',
    type: 'list',
    help: 'address that others shall dial (may be repeated)',
  },
  relay: {
    flag: '--relay',
    value: '<multiaddr>',
    type: 'list',
    env: 'MESHNET_RELAY',
    help: 'relay to reserve a slot at, besides those that the control plane names; of a control plane: the ones that it names to its devices (may be repeated)',
  },
  maxReservations: {
    flag: '--max-reservations',
    value: '<n>',
    type: 'integer',
    default: 1000,
    min: 1,
    max: 100_000,
    help: 'devices the relay serves at once',
  },
  servedPools: {
    flag: '--pool',
    value: '<hex>',
    type: 'list',
    help: 'id of a pool, from mesh pool-list: serve members of that pool only (may be repeated)',
  },
  open: { flag: '--open', type: 'switch', help: 'serve everyone, whatever pools were named before' },
  listen: {
    flag: '--listen',
    value: '<multiaddr>',
    type: 'list',
    env: 'MESHNET_LISTEN',
    default: '/ip4/0.0.0.0/tcp/0',
    help: 'libp2p address to listen on (may be repeated)',
  },
  discovery: {
    flag: '--discovery',
    value: '<kind>',
    type: 'string',
    env: 'MESHNET_DISCOVERY',
    choices: ['lan', 'none'],
    default: 'lan',
    help: 'how devices of a pool find each other besides the control plane: multicast DNS on the local network, or not at all',
  },
  backend: {
    flag: '--backend',
    value: '<name>',
    type: 'string',
    env: 'MESHNET_BACKEND',
    choices: ['auto', 'onnx', 'ggml'],
    default: 'auto',
    help: 'what computes: ONNX Runtime, ggml kernels, or the faster one that works here',
  },
  threads: {
    flag: '--threads',
    value: '<n>',
    type: 'integer',
    env: 'MESHNET_THREADS',
    default: 0,
    min: 0,
    max: 1024,
    help: 'compute threads; 0: as many as there are free cores, step by step (onnx: when it loads the model)',
  },
  spin: {
    flag: '--spin',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_SPIN',
    default: '0ms',
    min: 0,
    max: 10,
    help: 'how long a backend looks for the next half layer before it sleeps; 1ms makes decode faster and keeps a core busy while a job runs',
  },
  stepTimeout: {
    flag: '--step-timeout',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_STEP_TIMEOUT',
    default: '8s',
    min: 100,
    help: 'how long a rank waits for another inside one step',
  },
  heartbeat: {
    flag: '--heartbeat',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_HEARTBEAT',
    default: '5s',
    min: 100,
    help: 'how often agents report',
  },
  lease: {
    flag: '--lease',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_LEASE',
    default: '15s',
    min: 200,
    help: 'silence after which a device counts as gone',
  },
  ringGrace: {
    flag: '--ring-grace',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_RING_GRACE',
    default: '3s',
    min: 0,
    help: 'how long a ring waits for a lost device before it forms without it',
  },
  loadTimeout: {
    flag: '--load-timeout',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_LOAD_TIMEOUT',
    default: '60s',
    min: 1000,
    help: 'how long a member that loads may make no progress before the ring forms without it',
  },
  settleAfter: {
    flag: '--settle-after',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_SETTLE_AFTER',
    default: '2m',
    min: 0,
    help: 'how long reports on a finished job are waited for before it is settled without them',
  },
  keepText: {
    flag: '--keep-text',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_KEEP_TEXT',
    default: '7d',
    min: 0,
    max: 3650 * 86400e3,
    help: 'how long prompts and answers are kept after a job has ended, a minute at least (0: a minute after the answer was read, ten if it never is)',
  },
  creditWindow: {
    flag: '--credit-window',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_CREDIT_WINDOW',
    default: '30d',
    min: 86_400_000,
    help: 'contributions of that time decide who gets how much of a busy ring',
  },
  newcomerGrace: {
    flag: '--newcomer-grace',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_NEWCOMER_GRACE',
    default: '7d',
    min: 0,
    help: 'how long a new member gets the share of a newcomer',
  },
  newcomerShare: {
    flag: '--newcomer-share',
    value: '<fraction>',
    type: 'number',
    env: 'MESHNET_NEWCOMER_SHARE',
    default: 0.05,
    min: 0,
    max: 1,
    help: 'share of a busy ring that a new member gets at least',
  },
  shape: {
    flag: '--shape',
    value: '<name>',
    type: 'string',
    choices: ['tinyllama-1.1b', 'llama-160m', 'tiny'],
    default: 'tinyllama-1.1b',
    help: 'sizes of the model that is timed; its weights are random',
  },
  model: {
    flag: '--model',
    value: '<folder>',
    type: 'string',
    help: 'time the model in this folder instead of random weights',
  },
  promptTokens: {
    flag: '--prompt-tokens',
    value: '<n>',
    type: 'integer',
    default: 256,
    min: 1,
    max: 100_000,
    help: 'tokens read before the first one is written',
  },
  tokens: {
    flag: '--tokens',
    value: '<n>',
    type: 'integer',
    default: 32,
    min: 2,
    max: 100_000,
    help: 'tokens written',
  },
  contexts: {
    flag: '--contexts',
    value: '<n,...>',
    type: 'integers',
    min: 1,
    max: 100_000,
    help: 'also time decode behind prompts of these lengths, for example 100,2000',
  },
  sequences: {
    flag: '--sequences',
    value: '<n,...>',
    type: 'integers',
    min: 1,
    max: 64,
    help: 'also time decode of this many sequences at once, for example 1,4,8',
  },
  runs: {
    flag: '--runs',
    value: '<n>',
    type: 'integer',
    default: 5,
    min: 1,
    max: 100,
    help: 'timed runs after one to warm up',
  },
  collective: {
    flag: '--collective',
    value: '<name>',
    type: 'string',
    choices: ['auto', 'ring', 'direct', 'recursive-doubling'],
    default: 'auto',
    help: 'how partial results are summed (rank 0 decides for its ring)',
  },
  wire: {
    flag: '--wire',
    value: '<type>',
    type: 'string',
    choices: ['auto', 'f32', 'f16', 'q8'],
    default: 'auto',
    help: 'how tensors travel: f16 halves the bytes and rounds to 11 bits, q8 takes a quarter and rounds to 8 bits in blocks; auto is f16 for prompts of quantised models, else f32 (rank 0 decides for its ring)',
  },
  carrier: {
    flag: '--carrier',
    value: '<name>',
    type: 'string',
    choices: ['auto', 'streams'],
    default: 'auto',
    help: 'what carries the sums: auto opens encrypted sockets between the compute processes where every rank can reach every other one, else streams of libp2p',
  },
  compare: {
    flag: '--compare',
    value: '<name>',
    type: 'string',
    choices: ['llama.cpp'],
    help: 'time this beside it, on the same shape and type of weights',
  },
  collectives: { flag: '--collectives', type: 'switch', help: 'time the all-reduces alone, beside plain TCP' },
  rtt: {
    flag: '--rtt',
    value: '<ms>',
    type: 'number',
    default: 0,
    min: 0,
    max: 10_000,
    help: 'round trip that links are slowed down to, in milliseconds (0: as they are)',
  },
  mbit: {
    flag: '--mbit',
    value: '<n>',
    type: 'number',
    default: 0,
    min: 0,
    max: 100_000,
    help: 'megabits a second that leave each rank (0: as many as the links carry)',
  },
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

export type OptionName = keyof typeof optionTable
type Table = typeof optionTable
type ValueOf<R> = R extends { type: 'switch' }
  ? boolean
  : R extends { type: 'integer' | 'number' | 'duration' | 'bytes' }
    ? number
    : R extends { type: 'list' }
      ? string[]
      : R extends { type: 'integers' }
        ? number[]
        : string
type Always<R> = R extends { default: unknown } | { type: 'switch' | 'list' } ? true : false

/** Values of the named options: those with a default are always there, the others may be undefined. */
export type OptionValues<Name extends OptionName> = {
  [N in Name]: Always<Table[N]> extends true ? ValueOf<Table[N]> : ValueOf<Table[N]> | undefined
}

export const optionRecord = (name: OptionName): OptionRecord => optionTable[name]

/** The kinds of numbers: how they are read, and how their limits are told. */
const numberKinds: Readonly<
  Record<
    'integer' | 'number' | 'duration' | 'bytes',
    { readonly what: string; read(text: string): number; tell(value: number): string }
  >
> = {
  integer: { what: 'a whole number', read: Number, tell: String },
  number: { what: 'a number', read: Number, tell: String },
  duration: { what: 'a duration', read: parseDuration, tell: formatDuration },
  bytes: { what: 'a size', read: parseBytes, tell: formatBytes },
}

const readNumber = (flag: string, read: (text: string) => number, text: string): number => {
  try {
    return text.trim() === '' ? NaN : read(text)
  } catch (error) {
    throw new MeshError('usage', { problem: `${flag}: ${problemOf(error)}` }, error)
  }
}

const parseNumber = (
  { flag, min = -Infinity, max = Infinity }: OptionRecord,
  kind: keyof typeof numberKinds,
  text: string,
): number => {
  const { what, read, tell } = numberKinds[kind]
  const value = readNumber(flag, read, text)
  const whole = kind === 'number' || Number.isInteger(value)
  if (!Number.isFinite(value) || !whole || value < min || value > max) {
    const range = Number.isFinite(max)
      ? ` from ${tell(min)} to ${tell(max)}`
      : Number.isFinite(min)
        ? ` of at least ${tell(min)}`
        : ''
    throw new MeshError('usage', { problem: `${flag} wants ${what}${range}, got "${text}"` })
  }
  return value
}

const parseText = (record: OptionRecord, text: string): string | number | number[] | boolean => {
  if (record.type === 'integers') return text.split(',').map((part) => parseNumber(record, 'integer', part))
  if (record.type === 'switch') return text !== '' && text !== '0' && text !== 'false'
  if (record.type === 'string' || record.type === 'list') {
    if (record.choices && !record.choices.includes(text)) {
      throw new MeshError('usage', {
        problem: `${record.flag} wants one of ${record.choices.join(', ')}, got "${text}"`,
      })
    }
    if (record.form && !record.form.matches(text))
      throw new MeshError('usage', { problem: `${record.flag} wants ${record.form.name}, got "${text.slice(0, 300)}"` })
    return text
  }
  return parseNumber(record, record.type, text)
}

/**
 * Reads the named options.
 * @param given what the command line said: raw text per option, `true` for a switch, an array for a list
 * @param defaults of this program, where they differ from the table
 * @throws MeshError `usage` naming the flag, what it wants and what it got
 */
export const readOptions = <Name extends OptionName>(
  names: readonly Name[],
  given: Partial<Record<string, string | boolean | string[]>>,
  env: NodeJS.ProcessEnv = process.env,
  defaults: Partial<Record<string, string>> = {},
): OptionValues<Name> => {
  const values: Partial<Record<OptionName, unknown>> = {}
  for (const name of names) {
    const record: OptionRecord = optionTable[name]
    const fromEnv = record.env === undefined ? undefined : env[record.env]
    const raw = given[name] ?? (fromEnv === '' ? undefined : fromEnv) ?? defaults[name] ?? record.default
    if (record.type === 'list') {
      // only a list in one string is trimmed: spaces and line ends mean something in a stop string
      const parts = Array.isArray(raw) ? raw : typeof raw === 'string' ? raw.split(',').map((text) => text.trim()) : []
      values[name] = parts.map((text) => parseText(record, text))
    } else if (typeof raw === 'boolean') values[name] = raw
    else if (raw !== undefined && !Array.isArray(raw)) values[name] = parseText(record, String(raw))
    else if (record.type === 'switch') values[name] = false
  }
  return values as OptionValues<Name>
}

/** True when the command line or the environment names the value, false when it is the default. */
export const isOptionGiven = (
  name: OptionName,
  given: Partial<Record<string, unknown>>,
  env: NodeJS.ProcessEnv = process.env,
): boolean => {
  const { env: variable } = optionRecord(name)
  return given[name] !== undefined || (variable !== undefined && !!env[variable])
}

/** The folder that holds all state: `MESHNET_HOME`, or `.meshnet` in the user's home folder (`undefined` here). */
export const homeFromEnvironment = (env: NodeJS.ProcessEnv = process.env): string | undefined =>
  env.MESHNET_HOME || undefined

/** How people call this program: through npm in a clone (`npm run mesh -- ...`), else by its name. */
export const ownCommand = (env: NodeJS.ProcessEnv = process.env): string =>
  ['mesh', 'demo'].includes(env.npm_lifecycle_event ?? '') ? 'npm run --silent mesh --' : 'mesh'

/** Folder of the user's settings, where one is named: https://specifications.freedesktop.org/basedir-spec */
export const configFolderFromEnvironment = (env: NodeJS.ProcessEnv = process.env): string | undefined =>
  env.XDG_CONFIG_HOME || undefined

/** Folders in which programs are looked up. */
export const pathFromEnvironment = (env: NodeJS.ProcessEnv = process.env): string => env.PATH ?? ''

/** True when the output should carry no colour: https://no-color.org */
export const colourWanted = (env: NodeJS.ProcessEnv = process.env): boolean => !env.NO_COLOR && env.TERM !== 'dumb'

/** Width that text may have where no terminal tells its own: https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html */
export const columnsFromEnvironment = (env: NodeJS.ProcessEnv = process.env): number | undefined =>
  /^[1-9]\d{0,3}$/.test(env.COLUMNS ?? '') ? Number(env.COLUMNS) : undefined

const secretVariables = new Set<string>([optionTable.apiKey.env, optionTable.apiKeyFile.env])

/**
 * The environment for a Mesh process that lives in another home: ours without the variables of Mesh, so that nothing
 * set for this one (a pool, a port, a key) leaks into it.
 */
export const environmentFor = (home: string, env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(
    Object.entries(env).filter(([name]) => !name.startsWith('MESHNET_') && !secretVariables.has(name)),
  ),
  MESHNET_HOME: home,
})
