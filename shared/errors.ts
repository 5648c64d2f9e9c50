/**
 * Every failure that a user or a peer can cause, as data.
 *
 * One record per code: the HTTP status, the exit code of the CLI, the text (with `{field}` holes, or `{field|default}`)
 * and a hint that names the next command. The docs page, the HTTP responses and the CLI output derive from this table.
 * A code is never reused for another meaning.
 */

import { systemFailureOf } from './system-failure.ts'
import { oneLine } from './text.ts'
import { inWords } from './words.ts'

/** Exit codes of `mesh`: documented in the README. */
export const exitCodes = {
  ok: 0,
  bug: 1,
  usage: 2,
  setup: 3,
  network: 4,
  data: 5,
  job: 6,
  refused: 7,
  interrupted: 130,
  unread: 141,
} as const

interface ErrorRecord {
  readonly status: number
  readonly exit: number
  readonly text: string
  readonly hint: string
}

export const errorTable = {
  // usage and set-up
  usage: { status: 400, exit: 2, text: '{problem}', hint: '{help|mesh --help}' },
  commandUnknown: { status: 400, exit: 2, text: 'there is no command {word}{meant}', hint: '{next|mesh --help}' },
  notInitialised: {
    status: 409,
    exit: 3,
    text: 'no device is set up in {home}',
    hint: 'mesh join INVITE -d joins a group, mesh up -d makes one; step by step: mesh init --network-id home --name "My laptop"',
  },
  alreadyInitialised: {
    status: 409,
    exit: 3,
    text: 'a device named {name} is already set up in {home}, in network {networkId|of another name}',
    hint: 'a device stays in its network: leave out --network-id or give that name, or set MESHNET_HOME to another folder for a second device',
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
    hint: 'restore the file from a copy (mesh control-plane-import-key --file FILE); with a new key, made where the file is missing, every device of the group refuses this control plane',
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
    text: 'the control plane in {folder} has the key {known} already; with {imported} in its place, devices that know it refuse it, and what is stored under its key cannot be read any more',
    hint: 'add --yes to replace it (mesh control-plane-export-key keeps a copy of the old one), or name another folder with --data',
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
    text: 'the agent that runs here (process {pid}) is of version {got}, this command of version {want}: they cannot talk',
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
    hint: 'where that works, run: {rest} (the file is {file}); without it, mesh up -d and mesh start -d run in the background',
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
  // control plane
  controlPlaneUnreachable: {
    status: 503,
    exit: 4,
    text: 'no control plane answers at {url}: {problem}',
    hint: '{look|start it with mesh up (or mesh control-plane), or name another with --control-plane URL}',
  },
  tlsRequired: {
    status: 426,
    exit: 4,
    text: 'this control plane speaks plain HTTP on its own machine only; from elsewhere it is at {url}, and programs of Mesh that do not know that are of an older version: update them',
    hint: 'use {url}; mesh api-key-create names the file that programs and browsers can trust',
  },
  controlPlaneChanged: {
    status: 502,
    exit: 7,
    text: 'the control plane at {url} is not the one that this device knows: its key begins with {got}, the known one with {known}; nothing was sent to it',
    hint: 'somebody may be in between. mesh control-plane-key on the machine of the control plane prints its key; where that is a new one, an admin moves the pool there with mesh pool-move --control-plane URL, and a device of no pool takes it over with mesh init --network-id NAME --name NAME --control-plane-key KEY --yes',
  },
  controlPlaneUntrusted: {
    status: 502,
    exit: 7,
    text: 'nobody whom this machine trusts vouches for the control plane at {url}: {problem}; nothing was sent to it',
    hint: 'give its key with --control-plane-key (mesh control-plane-key on its machine prints it), or the file to trust with NODE_EXTRA_CA_CERTS (mesh api-key-create names it)',
  },
  wrongControlPlane: {
    status: 421,
    exit: 7,
    text: 'the request was signed for the control plane {wanted}, and this one is {own}',
    hint: 'mesh control-plane-key on the machine of the control plane prints its key; where that is a new one, an admin moves the pool there with mesh pool-move --control-plane URL, and a device of no pool takes it over with mesh init --network-id NAME --name NAME --control-plane-key KEY --yes',
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
    hint: 'free some space on the machine that runs the control plane (mesh status shows its address); what waits goes on by itself',
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
  // pools
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
    text: 'the control plane at {url}, which this device uses for its other pools, does not know the pool of the invite',
    hint: 'to be in both, give the new pool a folder of its own: MESHNET_HOME=FOLDER mesh join INVITE; to leave the others for it, add --control-plane {other}',
  },
  hostedElsewhere: {
    status: 409,
    exit: 3,
    text: 'this device uses the control plane at {url}{pools}; mesh up would start another one here',
    hint: 'mesh start runs the agent of this device; to host a group of your own as well, give it a folder of its own: MESHNET_HOME=FOLDER mesh up',
  },
  poolMoved: {
    status: 409,
    exit: 7,
    text: 'pool {poolId} is served by the control plane with the key {want}, and this is one with the key {got}',
    hint: 'the agent follows by itself when a member tells it where that is (mesh status); or name it: --control-plane URL. Where the pool is meant to be here, an admin says so: mesh pool-move --control-plane URL',
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
    hint: 'copy the whole file again that mesh pool-export-key or mesh control-plane-export-key wrote, and give each to its own command',
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
    hint: 'the control plane shows something that the maker of the pool did not sign: tell its admins, and do not send prompts over it',
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
    hint: 'the device that made the invite must run mesh start; without an invite an admin runs mesh pool-approve --device ID; then repeat the command',
  },
  // API keys
  keyInvalid: {
    status: 401,
    exit: 7,
    text: 'the API key is not valid: {problem}',
    hint: 'copy the whole key again, or make one on a device of the pool: mesh api-key-create --name app',
  },
  keyExpired: {
    status: 401,
    exit: 7,
    text: 'API key {keyId} expired at {expiresAt}',
    hint: 'make a new one on a device of the pool: mesh api-key-create --name app',
  },
  keyRevoked: {
    status: 401,
    exit: 7,
    text: 'API key {keyId} was revoked',
    hint: 'make a new one on a device of the pool: mesh api-key-create --name app',
  },
  keyMakerGone: {
    status: 403,
    exit: 7,
    text: 'the device that made API key {keyId} is no longer a member of the pool',
    hint: 'make a new one on a device that is: mesh api-key-create --name app',
  },
  keyOtherPool: {
    status: 403,
    exit: 7,
    text: 'API key {keyId} belongs to another pool',
    hint: 'GET /api/api-key tells which pool; leave out --pool-id',
  },
  keyNotAccepted: {
    status: 403,
    exit: 7,
    text: 'an API key does not open {route}',
    hint: 'keys open jobs and the list of rings, see /docs; for all else use a device of the pool: mesh --help',
  },
  keyQuotaExceeded: {
    status: 429,
    exit: 7,
    text: 'API key {keyId} may use {quota} tokens a day: {left} are left, the job may need {wanted}',
    hint: 'try again in {retryAfterSeconds}, with fewer --max-tokens, or make a key with a higher quota: mesh api-key-create --name app --quota {wanted}',
  },
  keyQuotaTooSmall: {
    status: 422,
    exit: 7,
    text: 'the job may need {wanted} tokens, API key {keyId} may use {quota} a day',
    hint: 'give fewer --max-tokens or a shorter prompt, or make a key with a higher quota: mesh api-key-create --name app --quota {wanted}',
  },
  keyAttempts: {
    status: 429,
    exit: 7,
    text: 'too many wrong API keys came from this address',
    hint: 'try again in {retryAfterSeconds}, with the right key: mesh api-key-list shows the ids of yours',
  },
  keyLimit: {
    status: 409,
    exit: 7,
    text: 'this device has {limit} API keys in the pool, which is the most',
    hint: 'mesh api-key-list, then mesh api-key-revoke ID for those that nobody uses',
  },
  // models
  modelUnknown: {
    status: 404,
    exit: 5,
    text: 'no model {modelId} on this device (there is {known|none else})',
    hint: 'put its Hugging Face folder at {folder}, or name the folder with --model-dir',
  },
  modelNotDownloaded: {
    status: 404,
    exit: 5,
    text: 'model {modelId} is not on this device',
    hint: 'download it with the tool of Hugging Face: hf download {modelId} --local-dir {folder}; then repeat the command',
  },
  modelTagUnknown: {
    status: 404,
    exit: 5,
    text: 'no model {modelId} on this device; names with a tag are those of Ollama, whose files Mesh does not read',
    hint: 'get the Hugging Face folder of the model, and name it: mesh join-ring --model-id {modelId} --model-dir FOLDER',
  },
  modelFolderMissing: {
    status: 404,
    exit: 5,
    text: 'there is no folder {folder}',
    hint: 'check the path after --model-dir; a model of the hub is downloaded first: hf download OWNER/NAME --local-dir {folder}',
  },
  modelFolderIsFile: {
    status: 422,
    exit: 5,
    text: '{file} is a file, a model is a folder',
    hint: 'name the folder: --model-dir {folder}',
  },
  modelElsewhere: {
    status: 404,
    exit: 5,
    text: 'config.json is missing in {folder}; a folder in it has one',
    hint: 'name that one: --model-dir {inner}',
  },
  modelFormatUnsupported: {
    status: 422,
    exit: 5,
    text: '{file} is {format}: this version of Mesh reads safetensors',
    hint: 'use the Hugging Face folder of the original model, with config.json, tokenizer.json and *.safetensors; --model-dir names it',
  },
  tokenizerFormatUnsupported: {
    status: 422,
    exit: 5,
    text: 'tokenizer.json is missing in {folder}; its tokenizer.model alone is not read',
    hint: 'download the folder in its form for transformers (often named -hf), whose files include tokenizer.json',
  },
  modelFileUnreadable: {
    status: 422,
    exit: 5,
    text: 'cannot read {file}: {problem}',
    hint: 'check the permissions of the file and of its folder',
  },
  gitLfsPointer: {
    status: 422,
    exit: 5,
    text: '{file} is a note of Git LFS in place of the file, which was not downloaded',
    hint: 'fetch the files: git -C {folder} lfs pull (needs git-lfs), or download the folder anew with the tool of Hugging Face: hf download OWNER/NAME',
  },
  modelFileMissing: {
    status: 422,
    exit: 5,
    text: '{file} is missing in {folder}',
    hint: 'download the model folder again; it needs config.json, tokenizer.json and model.safetensors',
  },
  modelConfigInvalid: {
    status: 422,
    exit: 5,
    text: '{file}: {problem}',
    hint: 'use an unmodified Hugging Face folder of a model that is supported; what would change the text unnoticed is refused',
  },
  architectureUnsupported: {
    status: 422,
    exit: 5,
    text: 'architecture {architecture} is not supported',
    hint: 'supported: LlamaForCausalLM',
  },
  safetensorsInvalid: {
    status: 422,
    exit: 5,
    text: '{file} is damaged: {problem}',
    hint: 'download the file again and compare its size and hash with the source',
  },
  weightsUnusable: {
    status: 422,
    exit: 5,
    text: 'tensor {tensor} in {file} cannot be used: {problem}',
    hint: 'download the file again and compare its hash with the source; values too large for q8 and q4 need --quant f32',
  },
  weightsChanged: {
    status: 409,
    exit: 5,
    text: 'tensor {tensor} in {file} has other bytes than when the file was read whole (MiB {piece})',
    hint: 'if somebody replaced the file: mesh join-ring reads it anew; if nobody did, the disk or the memory of this machine is failing',
  },
  tensorMissing: {
    status: 422,
    exit: 5,
    text: 'tensor {tensor} is missing in {folder}',
    hint: 'use an unmodified Hugging Face folder of the Llama architecture',
  },
  tensorUnknown: {
    status: 422,
    exit: 5,
    text: 'tensor {tensor} in {folder} is no part of a Llama model: it may change the text, so the model is refused',
    hint: 'use the original model: not quantised by others, and with adapters merged',
  },
  tensorShape: {
    status: 422,
    exit: 5,
    text: 'tensor {tensor} has shape {got}, config.json says {want}',
    hint: 'config.json and the weights belong to different models; download both again',
  },
  dtypeUnsupported: {
    status: 422,
    exit: 5,
    text: 'tensor {tensor} has type {dtype}',
    hint: 'supported: F32, F16, BF16',
  },
  modelMismatch: {
    status: 409,
    exit: 5,
    text: 'model {modelId} here has revision {got}, the ring uses {want}',
    hint: 'give every device the same files',
  },
  quantMismatch: {
    status: 409,
    exit: 5,
    text: 'the ring for {modelId} runs {want}, not {got}',
    hint: 'mesh join-ring --model-id {modelId} --quant {want}',
  },
  shardCorrupt: {
    status: 409,
    exit: 5,
    text: 'cached shard {file} is damaged: {problem}',
    hint: 'it is rebuilt from the model folder by itself; if this repeats, check the disk',
  },
  diskFull: {
    status: 507,
    exit: 5,
    text: 'cannot write {file}: the disk is full ({need} needed)',
    hint: 'free some space or move MESHNET_HOME',
  },
  chatTemplateMissing: {
    status: 422,
    exit: 5,
    text: 'the model in {folder} has no chat template',
    hint: 'leave out --chat, or add chat_template to its tokenizer_config.json',
  },
  planImpossible: {
    status: 422,
    exit: 5,
    text: 'the model cannot be split like that: {problem}',
    hint: 'mesh ring-status shows the shares',
  },
  backendFailed: {
    status: 500,
    exit: 5,
    text: 'the {backend} backend failed: {problem}',
    hint: 'mesh status; restart the agent with mesh start',
  },
  // rings and jobs
  ringEmpty: {
    status: 409,
    exit: 6,
    text: 'no device serves {modelId} in this pool',
    hint: 'mesh join-ring --model-id {modelId}, then mesh start',
  },
  ringLimit: {
    status: 409,
    exit: 7,
    text: 'this device takes part in {limit} rings of the pool, which is the most',
    hint: 'mesh ring-status shows them; mesh leave-ring --model-id NAME leaves one',
  },
  ringBlocked: {
    status: 409,
    exit: 6,
    text: 'no ring can form for {modelId}: {device}: {problem}',
    hint: 'on {device}: {advice}; then there mesh join-ring --model-id {modelId}, or wait: it is tried again by itself{when|}',
  },
  jobStalled: {
    status: 504,
    exit: 6,
    text: '{peer} did not get on with the job for {seconds}',
    hint: 'repeat the job: the ring goes on without that device if it does it again; what it does is told by mesh status and mesh logs there',
  },
  loadStalled: {
    status: 503,
    exit: 6,
    text: '{peer} {problem} for {seconds}',
    hint: 'see what it says there: mesh status and mesh logs; mesh join-ring there tries it again at once',
  },
  linksMissing: {
    status: 503,
    exit: 6,
    text: '{peer} has no link to {others}',
    hint: 'check that these machines reach each other, or give them a relay: mesh start --relay ADDRESS; mesh join-ring there tries it again at once',
  },
  memberRestless: {
    status: 503,
    exit: 6,
    text: '{peer} came and went again and again',
    hint: 'see why its agent or its network stops: mesh logs there; mesh join-ring there tries it again at once',
  },
  notInRing: { status: 409, exit: 2, text: 'this device is in no ring for {modelId}', hint: 'mesh ring-status' },
  promptTooLong: {
    status: 422,
    exit: 2,
    text: 'the prompt has {tokens} tokens, the context holds {context}',
    hint: 'shorten the prompt',
  },
  promptTooLarge: {
    status: 413,
    exit: 2,
    text: 'the prompt has more than {limit} characters',
    hint: 'shorten the prompt',
  },
  promptUnreadable: {
    status: 400,
    exit: 3,
    text: 'cannot read the prompt from {source}: {problem}',
    hint: 'give text in UTF-8: mesh inference --prompt-file FILE',
  },
  promptTwice: {
    status: 400,
    exit: 2,
    text: 'a prompt comes from {source} and from standard input too',
    hint: 'give one of them; where no text is meant to be read, end the command with < /dev/null',
  },
  tokenOutsideVocabulary: {
    status: 422,
    exit: 5,
    text: 'the prompt has the token {token} (id {id}), but the model knows only {vocab} tokens',
    hint: 'leave that token out of the prompt; if the chat template writes it, tokenizer and weights belong to different models',
  },
  promptEmpty: {
    status: 422,
    exit: 2,
    text: 'the prompt is empty',
    hint: 'mesh inference --prompt "Once upon a time"',
  },
  parameterInvalid: {
    status: 422,
    exit: 2,
    text: '{name} must be {want}, got {got}',
    hint: '{help|mesh inference --help}',
  },
  peerRemoved: {
    status: 503,
    exit: 6,
    text: '{peer} was removed from the pool while the job ran',
    hint: 'the ring forms anew without it: repeat the job in a few seconds',
  },
  peerLost: {
    status: 503,
    exit: 6,
    text: 'lost {peer} (rank {rank}) while the job ran: {problem}',
    hint: 'the ring forms anew of those that are left: repeat the job in a few seconds; {peer} takes part again once mesh start runs there',
  },
  collectiveTimeout: {
    status: 504,
    exit: 6,
    text: 'rank {rank} ({peer}) did not answer within {seconds}',
    hint: 'check {peer} and its network; the ring forms anew by itself (mesh ring-status shows of whom), then repeat the job',
  },
  rankFailed: {
    status: 500,
    exit: 6,
    text: '{peer} (rank {rank}) could not compute: {problem}',
    hint: 'repeat the job: what computes there starts again by itself; if it fails again, restart the agent there with mesh start',
  },
  peerInvalid: {
    status: 502,
    exit: 6,
    text: '{peer|a device} (rank {rank}) sent what cannot be right: {problem}',
    hint: 'repeat the job; if that device does it again, see that it runs this version (mesh --version) and is well, or take it out: mesh leave-ring there',
  },
  sumsWrong: {
    status: 502,
    exit: 6,
    text: 'The sums of {peer} (rank {rank}) are wrong: {wrong} of {checks} checks, as {accusers} found',
    hint: 'repeat the job: the ring goes on without that device; have its memory tested and Mesh installed anew there, or remove it: mesh pool-remove --device ID',
  },
  peerFailed: {
    status: 502,
    exit: 6,
    text: '{peer} (rank {rank}) gave up: {said}',
    hint: 'repeat the job; if that device gives up again, see what it says there: mesh logs',
  },
  relayLost: {
    status: 503,
    exit: 6,
    text: 'the relay between {device} and {peer} (rank {rank}) is gone: {problem}',
    hint: 'start the relay again with mesh relay, or let the devices reach each other directly; then repeat the job',
  },
  epochStale: {
    status: 409,
    exit: 6,
    text: 'the ring changed (epoch {got}, now {want})',
    hint: 'a device joined, left or came back: the ring forms anew by itself, repeat the job in a few seconds',
  },
  jobForgotten: {
    status: 410,
    exit: 6,
    text: 'the text of job {jobId} ({state}) is forgotten: prompts and answers are kept for a while only',
    hint: 'mesh inference asks again; whoever runs the control plane decides for how long (--keep-text)',
  },
  sealingUnavailable: {
    status: 409,
    exit: 6,
    text: 'prompts for {modelId} cannot be sealed: {problem}',
    hint: 'every device of the ring must run this version; mesh ring-status shows who is rank 0. Without --sealed the control plane sees the prompt',
  },
  sealingKeyInvalid: {
    status: 403,
    exit: 7,
    text: 'the key to seal the prompt with cannot be believed: {problem}',
    hint: 'nothing was sent. The control plane or rank 0 of the ring is not what it says: mesh ring-status, mesh pool-peers',
  },
  sealStale: {
    status: 409,
    exit: 6,
    text: 'the prompt is sealed for another rank 0, or for one that was started anew',
    hint: 'repeat the job: mesh inference --sealed does so by itself',
  },
  sealBroken: {
    status: 403,
    exit: 7,
    text: 'what was sealed was changed on its way: {problem}',
    hint: 'whoever runs the control plane may have done so: do not believe the text that came, and tell the admins of the pool',
  },
  jobPrivate: {
    status: 403,
    exit: 7,
    text: 'the text of job {jobId} is not for this device: {readers}',
    hint: 'mesh pool-status shows what members may see of it: model, state, tokens, times',
  },
  jobCancelled: { status: 409, exit: 130, text: 'the job was cancelled', hint: 'mesh inference runs it again' },
  jobLost: {
    status: 503,
    exit: 6,
    text: 'the agent that ran the job went away: {peer}',
    hint: 'the ring forms anew of those that are left: repeat the job in a few seconds; {peer} takes part again once mesh start runs there',
  },
  jobTimeout: {
    status: 504,
    exit: 6,
    text: 'the job waited {seconds} for a ring{why}',
    hint: 'wait longer with --wait 10m, or see mesh ring-status',
  },
  statementRefused: {
    status: 409,
    exit: 7,
    text: 'the statement about job {jobId} does not hold: {problem}',
    hint: 'mesh ledger shows how the job was settled',
  },
  ledgerInvalid: {
    status: 409,
    exit: 5,
    text: 'the ledger does not hold at entry {sequence}: {problem}',
    hint: 'somebody changed the database of the control plane; restore it from a copy, and ask who runs it',
  },
  // memory locks
  notLocked: {
    status: 409,
    exit: 2,
    text: 'no memory of this device is locked',
    hint: 'mesh lock-resources --memory 7GB',
  },
  lockShrinks: {
    status: 409,
    exit: 7,
    text: '{locked} are locked with a cooldown of {cooldown}: a lock can grow, but not shrink',
    hint: 'mesh unlock-resources, and lock less when the cooldown is over',
  },
  lockCooling: {
    status: 409,
    exit: 7,
    text: '{locked} stay locked until about {until} ({left} left of the cooldown)',
    hint: 'lock as much or more now, or less after that time; mesh resource-status shows what is left',
  },
  lockInvalid: {
    status: 400,
    exit: 7,
    text: 'the statement on locked memory is not valid: {problem}',
    hint: 'mesh lock-resources --memory 7GB signs a new one',
  },
  memoryShort: {
    status: 409,
    exit: 3,
    text: '{wanted} cannot be locked: {problem}',
    hint: 'lock less, or end programs that use memory; mesh resource-status shows what was measured',
  },
  ringTooLarge: {
    status: 409,
    exit: 6,
    text: '{modelId} {quant} does not fit: {device} lacks {lacks} (its part needs {needs}, {room} of its memory may be used){without|}',
    hint: 'lock more memory there (mesh lock-resources --memory SIZE), add a device (mesh join-ring --model-id {modelId} there), or use a smaller --quant',
  },
  // peers and frames
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
    text: '{older|one side} speaks version {olderVersion|(not known)} of {what|the protocol}, {newer|the other} version {newerVersion|(not known)}',
    hint: 'update Mesh on {update|the older of the two}: all devices of a pool and its control plane run the same version',
  },
} as const satisfies Record<string, ErrorRecord>

export type ErrorCode = keyof typeof errorTable
export type ErrorFields = Readonly<Record<string, string | number>>

/** What travels over HTTP, WebSocket and libp2p when something failed. */
export interface ErrorReport {
  readonly code: ErrorCode
  readonly message: string
  readonly hint: string
  readonly fields: ErrorFields
}

/** Where to look for what is not there, by the noun of `notFound`. */
export const lookFor: Readonly<Record<string, string>> = {
  'member with the id': 'mesh pool-peers shows the members and their ids',
  'join request of device': 'mesh pool-requests shows who asks to join',
  route: 'GET /docs shows every route',
  'API key': 'mesh api-key-list shows the ids',
  pool: 'the device that made it tells the control plane of it: mesh start there, with the same --control-plane',
  'join request for pool': 'ask to join: mesh join INVITE',
}

/** Fills in one line, whoever wrote the fields: `{name}`, and `{name|what stands where it is not known}`; durations, sizes and times in words (`inWords`). */
export const fill = (template: string, fields: ErrorFields): string =>
  template.replace(/\{(\w+)(?:\|([^}]*))?\}/g, (hole, name: string, otherwise?: string) =>
    name in fields ? oneLine(inWords(name, fields[name])) : (otherwise ?? hole),
  )

const hintOf = (code: ErrorCode, fields: ErrorFields): string => {
  const { what } = fields
  const look: ErrorFields = typeof what === 'string' && Object.hasOwn(lookFor, what) ? { look: lookFor[what] } : {}
  return fill(errorTable[code].hint, { ...look, ...fields })
}

/** Characters of a text of a report, as its schema has it: what was refused may be quoted, and be of any length. */
const mostCharacters = 4000
const shortened = (text: string): string =>
  text.length > mostCharacters ? `${text.slice(0, mostCharacters - 3)}...` : text

/** A failure with a code. `message` says what went wrong with expected and got; `hint` says what to do next. */
export class MeshError extends Error {
  readonly code: ErrorCode
  readonly fields: ErrorFields
  readonly hint: string

  constructor(code: ErrorCode, fields: ErrorFields = {}, cause?: unknown) {
    super(fill(errorTable[code].text, fields), cause === undefined ? undefined : { cause })
    this.name = 'MeshError'
    this.code = code
    this.fields = fields
    this.hint = hintOf(code, fields)
  }

  /** The same failure, with a hint to the help of the command that was typed where its record leaves room for one. */
  withHelp(command: string): MeshError {
    if (!errorTable[this.code].hint.includes('{help|') || 'help' in this.fields) return this
    return new MeshError(this.code, { ...this.fields, help: `mesh ${command} --help` }, this.cause ?? this)
  }

  get status(): number {
    return errorTable[this.code].status
  }

  get exitCode(): number {
    return errorTable[this.code].exit
  }

  toReport(): ErrorReport {
    const fields = Object.entries(this.fields).map(
      ([name, value]) => [name, typeof value === 'string' ? shortened(value) : value] as const,
    )
    return {
      code: this.code,
      message: shortened(this.message),
      hint: shortened(this.hint),
      fields: Object.fromEntries(fields),
    }
  }

  /** A report of another process as it may be kept and shown: each text in one line. */
  static cleanReport<
    Report extends Partial<Omit<ErrorReport, 'code'>> & { readonly code: string; readonly message: string },
  >(report: Report): Report {
    const { code, message, hint, fields } = report
    return {
      ...report,
      code: oneLine(code),
      message: oneLine(message),
      ...(hint === undefined ? {} : { hint: oneLine(hint) }),
      ...(fields === undefined
        ? {}
        : {
            fields: Object.fromEntries(
              Object.entries(fields).map(([name, value]) => [
                oneLine(name),
                typeof value === 'string' ? oneLine(value) : value,
              ]),
            ),
          }),
    }
  }

  /** The error behind a report of another process; an unknown code (a newer peer) becomes `internal`. */
  static fromReport(report: { code: string; message: string; fields?: ErrorFields }): MeshError {
    if (Object.hasOwn(errorTable, report.code)) return new MeshError(report.code as ErrorCode, report.fields ?? {})
    return new MeshError('internal', { problem: `${report.code}: ${report.message}` })
  }

  /** Any thrown value as a MeshError; what is not one already, and no matter of a disk, is a defect of ours (`internal`). */
  static from(value: unknown): MeshError {
    if (value instanceof MeshError) return value
    const failure = systemFailureOf(value)
    if (failure) return new MeshError(failure.code, failure.fields, value)
    return new MeshError('internal', { problem: problemOf(value) }, value)
  }
}

/** What the system calls a failure, as `ENOENT`; `undefined` of anything else. */
export const systemCodeOf = (value: unknown): string | undefined =>
  value instanceof Error && !(value instanceof MeshError) && 'code' in value && typeof value.code === 'string'
    ? value.code
    : undefined

/** The message of a thrown value, for the `problem` field. */
export const problemOf = (value: unknown): string => {
  if (!(value instanceof Error)) return String(value)
  const cause = value.cause instanceof Error && value.cause.message ? ` (${value.cause.message})` : ''
  const code = 'code' in value && typeof value.code === 'string' && !value.message ? value.code : ''
  return (value.message || code || value.name) + cause
}
