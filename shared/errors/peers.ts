/** Peers and their frames. */
import type { ErrorRecord } from './record.ts'

export const peerErrors = {
  peerUnreachable: {
    status: 503,
    exit: 4,
    text: 'cannot reach {peer} at any of its addresses: {problem}',
    hint: 'check that both machines are on one network, or give both a relay: mesh start --relay ADDRESS',
  },
  gateRefused: {
    status: 403,
    exit: 7,
    text: 'peer {peer} refused the connection: {problem}',
    hint: 'both devices must be members of the same pool',
  },
  relayPoolNotServed: {
    status: 403,
    exit: 7,
    text: 'relay {relay} does not serve pool {poolId}',
    hint: 'ask its owner to run: mesh relay --pool {poolId}',
  },
  frameInvalid: {
    status: 400,
    exit: 4,
    text: 'a peer sent an invalid frame: {problem}',
    hint: 'check that all agents run the same version: mesh --version',
  },
  frameTooLarge: {
    status: 413,
    exit: 4,
    text: 'a frame of {gotBytes} was announced, {limitBytes} is the most',
    hint: 'check that all agents run the same version: mesh --version',
  },
  protocolVersion: {
    status: 409,
    exit: 4,
    text:
      '{older|one side} speaks version {olderVersion|(not known)} of {what|the protocol}, ' +
      '{newer|the other} version {newerVersion|(not known)}',
    hint:
      'update Mesh on {update|the older of the two}: ' +
      'all devices of a pool and its control plane run the same version',
  },
} as const satisfies Record<string, ErrorRecord>
