/** Jobs: prompts, ranks that are lost or wrong while one runs, sealed text, the ledger. */
import type { ErrorRecord } from './record.ts'

export const jobErrors = {
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
    hint:
      'leave that token out of the prompt; if the chat template writes it, ' +
      'tokenizer and weights belong to different models',
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
    hint:
      'the ring forms anew of those that are left: repeat the job in a few seconds; ' +
      '{peer} takes part again once mesh start runs there',
  },
  collectiveTimeout: {
    status: 504,
    exit: 6,
    text: 'rank {rank} ({peer}) did not answer within {seconds}',
    hint:
      'check {peer} and its network; the ring forms anew by itself (mesh ring-status shows of whom), ' +
      'then repeat the job',
  },
  rankFailed: {
    status: 500,
    exit: 6,
    text: '{peer} (rank {rank}) could not compute: {problem}',
    hint:
      'repeat the job: what computes there starts again by itself; if it fails again, ' +
      'restart the agent there with mesh start',
  },
  peerInvalid: {
    status: 502,
    exit: 6,
    text: '{peer|a device} (rank {rank}) sent what cannot be right: {problem}',
    hint:
      'repeat the job; if that device does it again, see that it runs this version (mesh --version) and is well, ' +
      'or take it out: mesh leave-ring there',
  },
  sumsWrong: {
    status: 502,
    exit: 6,
    text: 'The sums of {peer} (rank {rank}) are wrong: {wrong} of {checks} checks, as {accusers} found',
    hint:
      'repeat the job: the ring goes on without that device; have its memory tested and Mesh installed anew there, ' +
      'or remove it: mesh pool-remove --device ID',
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
    hint:
      'every device of the ring must run this version; mesh ring-status shows who is rank 0. ' +
      'Without --sealed the control plane sees the prompt',
  },
  sealingKeyInvalid: {
    status: 403,
    exit: 7,
    text: 'the key to seal the prompt with cannot be believed: {problem}',
    hint:
      'nothing was sent. The control plane or rank 0 of the ring is not what it says: mesh ring-status, ' +
      'mesh pool-peers',
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
    hint:
      'whoever runs the control plane may have done so: do not believe the text that came, ' +
      'and tell the admins of the pool',
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
    hint:
      'the ring forms anew of those that are left: repeat the job in a few seconds; ' +
      '{peer} takes part again once mesh start runs there',
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
} as const satisfies Record<string, ErrorRecord>
