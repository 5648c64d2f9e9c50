/** What is typed, files and processes of this machine. */
import type { ErrorRecord } from './record.ts'

export const setupErrors = {
  usage: { status: 400, exit: 2, text: '{problem}', hint: '{help|mesh --help}' },
  commandUnknown: { status: 400, exit: 2, text: 'there is no command {word}{meant}', hint: '{next|mesh --help}' },
  notInitialised: {
    status: 409,
    exit: 3,
    text: 'no device is set up in {home}',
    hint:
      'mesh join INVITE -d joins a group, mesh up -d makes one; step by step: ' +
      'mesh init --network-id home --name "My laptop"',
  },
  alreadyInitialised: {
    status: 409,
    exit: 3,
    text: 'a device named {name} is already set up in {home}, in network {networkId|of another name}',
    hint:
      'a device stays in its network: leave out --network-id or give that name, ' +
      'or set MESHNET_HOME to another folder for a second device',
  },
  deviceSetUp: {
    status: 409,
    exit: 3,
    text: 'this device is set up already, as "{name}": {changes}',
    hint: 'add --yes to change that, or set MESHNET_HOME to another folder for a second device',
  },
  stateUnreadable: {
    status: 500,
    exit: 3,
    text: 'cannot read {file}: {problem}',
    hint: 'restore the file from a copy, or remove it and set it up again',
  },
  stateUnwritable: {
    status: 500,
    exit: 3,
    text: 'cannot write {file}: {problem}',
    hint: 'check the free space and the permissions of the folder',
  },
  controlPlaneKeyUnreadable: {
    status: 500,
    exit: 3,
    text: 'the key of the control plane in {file} is damaged',
    hint:
      'restore the file from a copy (mesh control-plane-import-key --file FILE); with a new key, ' +
      'made where the file is missing, every device of the group refuses this control plane',
  },
  controlPlaneKeyMissing: {
    status: 404,
    exit: 3,
    text: 'no control plane was started from {folder}: it has no key yet',
    hint: 'run this on the machine of the control plane, with the same MESHNET_HOME or --data; mesh up makes one here',
  },
  controlPlaneKeyPresent: {
    status: 409,
    exit: 3,
    text:
      'the control plane in {folder} has the key {known} already; with {imported} in its place, ' +
      'devices that know it refuse it, and what is stored under its key cannot be read any more',
    hint:
      'add --yes to replace it (mesh control-plane-export-key keeps a copy of the old one), ' +
      'or name another folder with --data',
  },
  partMissing: {
    status: 501,
    exit: 3,
    text: 'mesh {command} needs {missing}, and this machine has the {kept} of Mesh alone',
    hint: '{install}, where Mesh was installed from, adds what is missing',
  },
  fileMissing: { status: 404, exit: 3, text: 'there is no file {file}', hint: 'check the path after {flag}' },
  fileUnreadable: {
    status: 422,
    exit: 3,
    text: 'cannot read {file}: {problem}',
    hint: 'check that the path after {flag} names a file, and that you may read it',
  },
  agentNotRunning: { status: 409, exit: 3, text: 'no agent is running for {home}', hint: 'mesh start' },
  folderInUse: {
    status: 409,
    exit: 3,
    text: '{what} already runs in {folder} (process {pid})',
    hint: 'use that one, or stop it; --data names another folder',
  },
  agentVersion: {
    status: 409,
    exit: 3,
    text:
      'the agent that runs here (process {pid}) is of version {got}, this command of version {want}: ' +
      'they cannot talk',
    hint: 'restart it with the version that is installed: mesh down, then mesh start -d',
  },
  agentAlreadyRunning: {
    status: 409,
    exit: 3,
    text: 'an agent for {home} is already running (process {pid})',
    hint: 'mesh status tells of it, mesh down ends it',
  },
  processForeign: {
    status: 500,
    exit: 3,
    text: 'process {pid} belongs to another user',
    hint: 'run the command as that user, or as root: sudo mesh down',
  },
  processStuck: {
    status: 500,
    exit: 3,
    text: 'process {pid} does not end',
    hint: 'the operating system holds it, most likely for a disk that does not answer; restart the machine if it stays',
  },
  serviceManager: {
    status: 500,
    exit: 3,
    text: '{manager} could not be told: {command}: {problem}',
    hint:
      'where that works, run: {rest} (the file is {file}); without it, ' +
      'mesh up -d and mesh start -d run in the background',
  },
  portInUse: {
    status: 500,
    exit: 3,
    text: 'port {port} is in use',
    hint: 'choose another with --port, or stop {holder|the program that holds it}',
  },
  processEnded: {
    status: 500,
    exit: 3,
    text: '{name} ended ({how}): {problem}',
    hint: '{look|run it alone with --log-level debug to see more}',
  },
} as const satisfies Record<string, ErrorRecord>
