/** Where services and agents listen, and whom they name. */
import type { OptionRecord } from './record.ts'

/** Where the services listen unless told otherwise. */
export const defaultPorts = { controlPlane: 8080, relay: 4001 } as const

export const serviceOptions = {
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
    help:
      'serve plain HTTP to other machines too: ' +
      'everybody on the way reads and changes what programs send that do not use TLS',
  },
  tlsCert: {
    flag: '--tls-cert',
    value: '<file>',
    type: 'string',
    env: 'MESHNET_TLS_CERT',
    help:
      'certificate in PEM, with its chain, for browsers and programs that ask for a name it bears (devices go by ' +
      'the key of the control plane)',
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
    help:
      'relay to reserve a slot at, besides those that the control plane names; of a control plane: ' +
      'the ones that it names to its devices (may be repeated)',
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
    help:
      'how devices of a pool find each other besides the control plane: multicast DNS on the local network, ' +
      'or not at all',
  },
} as const satisfies Record<string, OptionRecord>
