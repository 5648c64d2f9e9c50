/** The device, its pools and the control plane that serves them. */
import type { OptionRecord } from './record.ts'

export const poolOptions = {
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
    help:
      'make the pool one whose admins read prompts and answers of all members; signed when it is made, ' +
      'and never changed (else: the submitter alone)',
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
  file: {
    flag: '--file',
    value: '<file>',
    type: 'string',
    help: 'file with the encrypted key; of a hub: a .gguf file or what its name says, such as Q4_K_M',
  },
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
} as const satisfies Record<string, OptionRecord>
