/** The control plane: reaching it, requests to it, its storage. */
import type { ErrorRecord } from './record.ts'

export const controlPlaneErrors = {
  controlPlaneUnreachable: {
    status: 503,
    exit: 4,
    text: 'no control plane answers at {url}: {problem}',
    hint: '{look|start it with mesh up (or mesh control-plane), or name another with --control-plane URL}',
  },
  tlsRequired: {
    status: 426,
    exit: 4,
    text:
      'this control plane speaks plain HTTP on its own machine only; from elsewhere it is at {url}, ' +
      'and programs of Mesh that do not know that are of an older version: update them',
    hint: 'use {url}; mesh api-key-create names the file that programs and browsers can trust',
  },
  controlPlaneChanged: {
    status: 502,
    exit: 7,
    text:
      'the control plane at {url} is not the one that this device knows: its key begins with {got}, ' +
      'the known one with {known}; nothing was sent to it',
    hint:
      'somebody may be in between. mesh control-plane-key on the machine of the control plane prints its key; ' +
      'where that is a new one, an admin moves the pool there with mesh pool-move --control-plane URL, ' +
      'and a device of no pool takes it over with ' +
      'mesh init --network-id NAME --name NAME --control-plane-key KEY --yes',
  },
  controlPlaneUntrusted: {
    status: 502,
    exit: 7,
    text: 'nobody whom this machine trusts vouches for the control plane at {url}: {problem}; nothing was sent to it',
    hint:
      'give its key with --control-plane-key (mesh control-plane-key on its machine prints it), ' +
      'or the file to trust with NODE_EXTRA_CA_CERTS (mesh api-key-create names it)',
  },
  wrongControlPlane: {
    status: 421,
    exit: 7,
    text: 'the request was signed for the control plane {wanted}, and this one is {own}',
    hint:
      'mesh control-plane-key on the machine of the control plane prints its key; where that is a new one, ' +
      'an admin moves the pool there with mesh pool-move --control-plane URL, ' +
      'and a device of no pool takes it over with ' +
      'mesh init --network-id NAME --name NAME --control-plane-key KEY --yes',
  },
  controlPlaneProtocol: {
    status: 502,
    exit: 4,
    text: 'the control plane sent something unexpected: {problem}',
    hint: 'check that --control-plane names a Mesh control plane of the same version',
  },
  requestInvalid: {
    status: 400,
    exit: 2,
    text: 'invalid request: {problem}',
    hint: '{help|see /docs for the schema of each route}',
  },
  bodyTooLarge: {
    status: 413,
    exit: 2,
    text: 'the body of {route} may have {limitBytes}, and this one has more',
    hint: 'send less: a prompt may have {promptLength} characters; /docs shows the schema of each route',
  },
  bodyTooSlow: {
    status: 408,
    exit: 4,
    text: 'the body of the request did not come within {seconds}',
    hint: 'try again; the connection to the control plane may be bad',
  },
  tooManyRequests: {
    status: 429,
    exit: 7,
    text: 'too many requests came from {sender}',
    hint: 'try again in {retryAfterSeconds}',
  },
  notFound: {
    status: 404,
    exit: 2,
    text: 'there is no {what} {id}',
    hint: '{look|check the spelling; mesh pool-list and mesh ring-status show what exists}',
  },
  signatureInvalid: {
    status: 401,
    exit: 7,
    text: 'the request is not signed by a device: {problem}',
    hint: 'check the clock of this machine, and that both ends run the same version: mesh --version',
  },
  clockSkew: {
    status: 401,
    exit: 7,
    text: 'the clock of this device is {seconds} {side|away from} the control plane',
    hint: 'set the clock (for example: timedatectl set-ntp true)',
  },
  replayed: { status: 401, exit: 7, text: 'the request was seen before', hint: 'send it again with a fresh nonce' },
  deviceUnknown: {
    status: 403,
    exit: 3,
    text: 'the control plane does not know this device',
    hint: 'mesh start makes it known',
  },
  interrupted: { status: 503, exit: 130, text: 'interrupted', hint: 'run the command again' },
  internal: {
    status: 500,
    exit: 1,
    text: 'internal error: {problem}',
    hint: 'this is a defect of Mesh; please report it with the log',
  },
  storageFull: {
    status: 507,
    exit: 5,
    text: 'the disk of the control plane is full: it can store nothing',
    hint:
      'free some space on the machine that runs the control plane (mesh status shows its address); ' +
      'what waits goes on by itself',
  },
  storageFailed: {
    status: 500,
    exit: 5,
    text: 'the control plane cannot use its database: {problem}',
    hint: 'check disk and folder on the machine that runs the control plane; what waits goes on by itself',
  },
  notReady: {
    status: 503,
    exit: 4,
    text: 'the control plane answers, and cannot store anything: {problem}',
    hint: 'free some space on its disk, or see its log; it becomes ready by itself',
  },
  queueFull: {
    status: 429,
    exit: 6,
    text: 'too much waits already: {whose} may have {limit} waiting',
    hint: 'try again in {retryAfterSeconds}, when some of it has had its turn, or cancel what nobody needs any more',
  },
  overloaded: { status: 429, exit: 6, text: '{what} is full: {limit} at most', hint: 'try again in a moment' },
} as const satisfies Record<string, ErrorRecord>
