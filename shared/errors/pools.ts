/** Pools: which one, invites, certificates, who may do what. */
import type { ErrorRecord } from './record.ts'

export const poolErrors = {
  poolUnknown: { status: 404, exit: 2, text: 'this device is in no pool {poolId}', hint: 'mesh pool-list' },
  noPool: {
    status: 409,
    exit: 3,
    text: 'this device is in no pool',
    hint: 'mesh pool-create --name home; or mesh join INVITE',
  },
  poolElsewhere: {
    status: 409,
    exit: 3,
    text:
      'the control plane at {url}, which this device uses for its other pools, ' +
      'does not know the pool of the invite',
    hint:
      'to be in both, give the new pool a folder of its own: MESHNET_HOME=FOLDER mesh join INVITE; ' +
      'to leave the others for it, add --control-plane {other}',
  },
  hostedElsewhere: {
    status: 409,
    exit: 3,
    text: 'this device uses the control plane at {url}{pools}; mesh up would start another one here',
    hint:
      'mesh start runs the agent of this device; to host a group of your own as well, give it a folder of its own: ' +
      'MESHNET_HOME=FOLDER mesh up',
  },
  poolMoved: {
    status: 409,
    exit: 7,
    text: 'pool {poolId} is served by the control plane with the key {want}, and this is one with the key {got}',
    hint:
      'the agent follows by itself when a member tells it where that is (mesh status); or name it: ' +
      '--control-plane URL. Where the pool is meant to be here, an admin says so: ' +
      'mesh pool-move --control-plane URL',
  },
  poolKeyMismatch: {
    status: 400,
    exit: 7,
    text: 'pool id {poolId} does not belong to that root public key',
    hint: 'copy both values again from: mesh pool-list',
  },
  certificateInvalid: {
    status: 403,
    exit: 7,
    text: 'the membership certificate is not valid: {problem}',
    hint: 'join again with a new invite (mesh pool-invite makes one): mesh join INVITE',
  },
  certificateExpired: {
    status: 403,
    exit: 7,
    text: 'the membership certificate expired at {notAfter}',
    hint: 'join again with a new invite (mesh pool-invite makes one): mesh join INVITE',
  },
  inviteInvalid: {
    status: 403,
    exit: 7,
    text: 'the invite is not valid: {problem}',
    hint: 'copy the whole line again from: mesh pool-invite',
  },
  inviteExpired: {
    status: 403,
    exit: 7,
    text: 'the invite expired at {notAfter}',
    hint: 'ask for a new one: mesh pool-invite --expires 24h',
  },
  inviteUsed: {
    status: 403,
    exit: 7,
    text: 'the invite was used already ({uses} times at most)',
    hint: 'ask for a new one: mesh pool-invite --uses 2',
  },
  joinDenied: {
    status: 403,
    exit: 7,
    text: 'an admin of pool {poolId} denied the request',
    hint: 'talk to the person who runs the pool',
  },
  keyExportInvalid: {
    status: 400,
    exit: 3,
    text: 'the exported key is not valid: {problem}',
    hint:
      'copy the whole file again that mesh pool-export-key or mesh control-plane-export-key wrote, ' +
      'and give each to its own command',
  },
  passphraseWrong: {
    status: 403,
    exit: 7,
    text: 'the passphrase is wrong, or the file was changed',
    hint: 'try again; without the passphrase nobody can read it',
  },
  revocationsInvalid: {
    status: 403,
    exit: 7,
    text: 'the revocation list is not valid: {problem}',
    hint: 'check the clock; then run the command again',
  },
  pinInvalid: {
    status: 403,
    exit: 7,
    text: 'what names the control plane of the pool is not valid: {problem}',
    hint: 'check the clock of this machine; an admin names it anew: mesh pool-move --control-plane URL',
  },
  memberRemoved: {
    status: 403,
    exit: 7,
    text: 'device {deviceId} was removed from pool {poolId}',
    hint: 'repeat mesh join INVITE there; an admin lets it in again with mesh pool-approve --device {deviceId}',
  },
  renewalRefused: {
    status: 409,
    exit: 7,
    text: 'the membership is not renewed here: {problem}',
    hint: 'nothing to do: the agent asks every admin that it reaches, again and again',
  },
  notMember: {
    status: 403,
    exit: 7,
    text: 'device {deviceId} is not a member of pool {poolId}',
    hint: 'an admin gives it an invite (mesh pool-invite), for: mesh join INVITE',
  },
  charterInvalid: {
    status: 403,
    exit: 7,
    text: 'what the pool was made to be cannot be believed: {problem}',
    hint:
      'the control plane shows something that the maker of the pool did not sign: tell its admins, ' +
      'and do not send prompts over it',
  },
  charterChanged: {
    status: 403,
    exit: 7,
    text: 'text of pool {poolId} was {before} when this device joined, and the control plane now says {now}',
    hint: 'who may read prompts and answers was changed: ask who made the pool; mesh pool-join takes the new terms',
  },
  notAdmin: {
    status: 403,
    exit: 7,
    text: 'only an admin of pool {poolId} may do that',
    hint: 'run the command on the device that made the pool, or on one that it named admin',
  },
  joinPending: {
    status: 409,
    exit: 4,
    text: 'no admin of pool {poolId} answered within {seconds}',
    hint:
      'the device that made the invite must run mesh start; without an invite an admin runs mesh pool-approve ' +
      '--device ID; then repeat the command',
  },
} as const satisfies Record<string, ErrorRecord>
