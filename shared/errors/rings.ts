/** Rings: why none forms, who holds it up. */
import type { ErrorRecord } from './record.ts'

export const ringErrors = {
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
    hint:
      'on {device}: {advice}; then there mesh join-ring --model-id {modelId}, or wait: ' +
      'it is tried again by itself{when|}',
  },
  jobStalled: {
    status: 504,
    exit: 6,
    text: '{peer} did not get on with the job for {seconds}',
    hint:
      'repeat the job: the ring goes on without that device if it does it again; ' +
      'what it does is told by mesh status and mesh logs there',
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
    hint:
      'check that these machines reach each other, or give them a relay: mesh start --relay ADDRESS; ' +
      'mesh join-ring there tries it again at once',
  },
  memberRestless: {
    status: 503,
    exit: 6,
    text: '{peer} came and went again and again',
    hint: 'see why its agent or its network stops: mesh logs there; mesh join-ring there tries it again at once',
  },
  notInRing: { status: 409, exit: 2, text: 'this device is in no ring for {modelId}', hint: 'mesh ring-status' },
} as const satisfies Record<string, ErrorRecord>
