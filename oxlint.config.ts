/**
 * The shape of the code, as lint enforces it: which room may use which, who owns which library, how large a file and
 * a function may be. `test/lint-rules.test.ts` plants a violation of each kind.
 */
import { defineConfig, type OxlintOverride } from 'oxlint'

/**
 * Room -> the rooms it may use, those of one part from the outside in: nothing leads back. What is not named here is
 * refused; files beside the rooms (`shared/errors.ts`) are for all of their part, `shared` for everybody.
 */
export const rooms: Readonly<Record<string, readonly string[]>> = {
  'agent/background': ['agent/cli'],
  'agent/cli': ['agent/daemon', 'agent/device', 'agent/library', 'agent/model'],
  'agent/daemon': [
    'agent/channel',
    'agent/checks',
    'agent/collective',
    'agent/compute',
    'agent/device',
    'agent/engine',
    'agent/generation',
    'agent/model',
    'agent/network',
    'agent/rank',
  ],
  'agent/rank': [
    'agent/channel',
    'agent/channel/sockets',
    'agent/collective',
    'agent/compute',
    'agent/engine',
    'agent/links',
    'agent/network',
  ],
  'agent/compute': [
    'agent/channel',
    'agent/channel/sockets',
    'agent/collective',
    'agent/engine',
    'agent/links',
    'agent/model',
  ],
  'agent/links': ['agent/channel', 'agent/channel/sockets', 'agent/collective', 'agent/engine'],
  'agent/checks': ['agent/collective', 'agent/engine', 'agent/model'],
  'agent/generation': ['agent/channel', 'agent/collective', 'agent/engine'],
  'agent/engine': ['agent/collective', 'agent/model'],
  'agent/collective': ['agent/channel'],
  'agent/network': ['agent/channel', 'agent/channel/sockets', 'agent/device'],
  'agent/channel': [],
  'agent/channel/sockets': ['agent/channel'],
  'agent/library': ['agent/model'],
  'agent/model': [],
  'agent/device': [],
  'control-plane/routes': ['control-plane/domain', 'control-plane/service', 'control-plane/store'],
  'control-plane/service': ['control-plane/domain', 'control-plane/store'],
  'control-plane/store': ['control-plane/domain'],
  'control-plane/domain': [],
  'relay-server': [],
  'shared/errors': [],
  'shared/options': [],
  'shared/api': ['shared/identity', 'shared/ledger', 'shared/schema', 'shared/wire'],
  'shared/sealed': ['shared/identity', 'shared/schema', 'shared/wire'],
  'shared/ledger': ['shared/identity', 'shared/schema', 'shared/wire'],
  'shared/identity': ['shared/schema', 'shared/wire'],
  'shared/plan': ['shared/schema', 'shared/wire'],
  'shared/wire': ['shared/schema'],
  'shared/schema': [],
}

/** Library -> the rooms and files that may import it; those that nothing is said about (typebox) are for all. */
export const owners: Readonly<Record<string, readonly string[]>> = {
  '@peculiar/x509': ['control-plane/tls/certificates.ts'],
  'reflect-metadata': ['control-plane/tls/certificates.ts'],
  '@chainsafe/libp2p-noise': ['agent/network', 'relay-server/relay-node.ts'],
  '@chainsafe/libp2p-yamux': ['agent/network', 'relay-server/relay-node.ts'],
  '@fastify/swagger': ['control-plane/app.ts'],
  '@fastify/swagger-ui': ['control-plane/app.ts'],
  '@fastify/websocket': ['control-plane/app.ts'],
  '@hpke/core': ['shared/sealed'],
  '@huggingface/hub': ['agent/library'],
  '@huggingface/jinja': ['agent/model'],
  '@huggingface/tokenizers': ['agent/model'],
  '@libp2p/circuit-relay-v2': ['agent/network', 'relay-server/relay-node.ts', 'relay-server/relay-gate.ts'],
  '@libp2p/crypto': ['agent/network', 'relay-server/relay-node.ts'],
  '@libp2p/dcutr': ['agent/network'],
  '@libp2p/identify': ['agent/network', 'relay-server/relay-node.ts'],
  '@libp2p/interface': ['agent/network', 'relay-server'],
  '@libp2p/mdns': ['agent/network'],
  '@libp2p/peer-id': ['agent/network'],
  '@libp2p/tcp': ['agent/network', 'relay-server/relay-node.ts'],
  '@libp2p/tls': ['agent/network', 'relay-server/relay-node.ts'],
  '@multiformats/multiaddr': ['agent/network', 'relay-server/relay-node.ts'],
  '@noble/ed25519': ['shared/identity'],
  '@noble/hashes': ['shared/identity'],
  'better-sqlite3': ['control-plane/store'],
  'cbor-x': ['shared/wire/envelope.ts'],
  commander: ['agent/cli'],
  'drizzle-orm': ['control-plane/store'],
  'eventsource-parser': ['agent/cli', 'control-plane/test'],
  fastify: ['control-plane/app.ts', 'control-plane/routes'],
  'ipaddr.js': ['agent/network/announced-address.ts'],
  koffi: ['agent/engine/ggml'],
  libp2p: ['agent/network', 'relay-server/relay-node.ts'],
  'onnxruntime-common': ['agent/engine/onnx'],
  'onnxruntime-node': ['agent/engine/onnx'],
  pino: ['shared/log.ts'],
  protobufjs: ['agent/engine/onnx'],
  'qrcode-terminal': ['agent/cli'],
  undici: ['shared/api/pinned-tls.ts'],
  ws: ['agent/daemon', 'control-plane/service', 'control-plane/test'],
}

const parts = ['agent', 'control-plane', 'relay-server', 'bench', 'test', 'tools']
const sharedNote = 'shared knows nobody'
const siblingNote = 'agent, control-plane and relay-server know shared alone; siblings are started as processes'

interface Pattern {
  readonly group: string[]
  readonly message: string
}

const isBelow = (path: string, place: string): boolean => path === place || path.startsWith(`${place}/`)
const partOf = (room: string): string => room.split('/')[0]
const nameOf = (room: string): string => room.split('/').at(-1)!

/** Libraries that neither this place nor a room around it owns. */
const foreignLibraries = (place: string): Pattern[] =>
  Object.entries(owners)
    .filter(([, homes]) => !homes.some((home) => isBelow(place, home)))
    .map(([library, homes]) => ({
      group: [library, `${library}/*`, `${library}/*/*`],
      message: `${library} belongs to ${homes.join(', ')}`,
    }))

/** Other parts of the product, as paths lead to them. */
const foreignParts = (place: string): Pattern[] => {
  const own = partOf(place)
  const note = own === 'shared' ? sharedNote : siblingNote
  return parts.filter((part) => part !== own).map((part) => ({ group: [`**/${part}/**`], message: note }))
}

/** Rooms of the same part, or of `shared`, that this room may not use. */
const foreignRooms = (room: string): Pattern[] => {
  const may = rooms[room]
  // main.ts and its like put the rooms of a part together
  if (may === undefined) return []
  const others = Object.keys(rooms).filter(
    (other) => other !== room && !may.includes(other) && partOf(other) === partOf(room),
  )
  return others.map((other) => ({
    group: [`**/${nameOf(other)}/**`],
    message: `${room} may use ${may.join(', ') || 'shared alone'}`,
  }))
}

const refuse = (patterns: Pattern[]): OxlintOverride['rules'] => ({ 'no-restricted-imports': ['error', { patterns }] })

const roomOf = (place: string): string => Object.keys(rooms).find((room) => isBelow(place, room)) ?? place

/** The last entry that matches a file decides, so each says all: parts first, then rooms, then places that own a library. */
const places = [
  'shared',
  'agent',
  'control-plane',
  ...Object.keys(rooms),
  ...[...new Set(Object.values(owners).flat())].filter((home) => !(home in rooms)),
]

const filesOf = (place: string): string[] => [place.endsWith('.ts') ? place : `${place}/**`]

/** What a product never runs: it may look into other rooms of its part, and use what all tests share. */
const testFiles = ['**/*.test.ts', '**/test/**', '**/*contract.ts']

const testFilesOf = (place: string): string[] =>
  nameOf(place) === 'test' ? [`${place}/**`] : testFiles.map((kind) => kind.replace('**', `${place}/**`))

const architecture = places.flatMap((place) => {
  const everywhere = [...foreignLibraries(place), ...foreignParts(place)]
  const testsOwn = everywhere.filter(({ group }) => !group.includes('**/test/**'))
  return [
    { files: filesOf(place), excludeFiles: testFiles, rules: refuse([...everywhere, ...foreignRooms(roomOf(place))]) },
    { files: testFilesOf(place), rules: refuse(testsOwn) },
  ]
})

const noExit = {
  object: 'process',
  property: 'exit',
  message: 'a program ends in its main.ts; elsewhere return or throw',
} as const

/** Files that serve streams before the gate is passed: itself, and what it guards or answers in its stead. */
const beforeTheGate = ['gate-exchange', 'own-protocols', 'older-versions', 'member-protocol'].map(
  (name) => `agent/network/${name}.ts`,
)
const noHandle = {
  property: 'handle',
  message: 'a protocol is served to members alone, by serveMembers or answerMembers of member-protocol.ts',
} as const

export default defineConfig({
  plugins: ['typescript', 'import', 'unicorn', 'node', 'promise'],
  categories: { correctness: 'error', suspicious: 'error' },
  ignorePatterns: ['node_modules', 'models'],
  rules: {
    'max-lines': ['error', { max: 400 }],
    'max-lines-per-function': ['error', { max: 60, skipComments: true, skipBlankLines: true }],
    'max-params': ['error', { max: 4 }],
    'typescript/no-explicit-any': 'error',
    'import/no-cycle': ['error', { ignoreTypes: false }],
    'node/no-process-env': 'error',
    'no-restricted-properties': ['error', noExit],
    // a small function reads best beside its only use
    'unicorn/consistent-function-scoping': 'off',
    // fast-check and ws are used by their default export, as their own documentation does
    'import/no-named-as-default': 'off',
    'import/no-named-as-default-member': 'off',
    // a rule for windows of a browser; workers and ports have no origin
    'unicorn/require-post-message-target-origin': 'off',
    // the end of a chain whose value nobody reads
    'promise/always-return': 'off',
    // takes every function whose parameter is called error for a callback of Node's old kind
    'promise/no-promise-in-callback': 'off',
  },
  overrides: [
    ...architecture,
    {
      files: ['agent/network/**', 'agent/daemon/**', 'agent/rank/**'],
      excludeFiles: [...testFiles, ...beforeTheGate],
      rules: { 'no-restricted-properties': ['error', noExit, noHandle] },
    },
    {
      files: ['agent/main.ts', 'agent/background/main.ts', 'control-plane/main.ts', 'relay-server/main.ts'],
      rules: { 'no-restricted-properties': 'off' },
    },
    { files: ['shared/options.ts', 'tools/setup.mjs', 'examples/**'], rules: { 'node/no-process-env': 'off' } },
    {
      files: ['**/*.test.ts', '**/contract.ts', '**/test/**'],
      rules: { 'max-lines': ['error', { max: 600 }], 'max-lines-per-function': 'off' },
    },
  ],
})
