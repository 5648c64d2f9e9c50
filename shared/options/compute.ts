/** What computes, and how long it waits. */
import type { OptionRecord } from './record.ts'

export const computeOptions = {
  backend: {
    flag: '--backend',
    value: '<name>',
    type: 'string',
    env: 'MESHNET_BACKEND',
    choices: ['auto', 'onnx', 'ggml'],
    default: 'auto',
    help: 'what computes: ONNX Runtime, ggml kernels, or the faster one that works here',
  },
  threads: {
    flag: '--threads',
    value: '<n>',
    type: 'integer',
    env: 'MESHNET_THREADS',
    default: 0,
    min: 0,
    max: 1024,
    help: 'compute threads; 0: as many as there are free cores, step by step (onnx: when it loads the model)',
  },
  spin: {
    flag: '--spin',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_SPIN',
    default: '0ms',
    min: 0,
    max: 10,
    help:
      'how long a backend looks for the next half layer before it sleeps; ' +
      '1ms makes decode faster and keeps a core busy while a job runs',
  },
  stepTimeout: {
    flag: '--step-timeout',
    value: '<time>',
    type: 'duration',
    env: 'MESHNET_STEP_TIMEOUT',
    default: '8s',
    min: 100,
    help: 'how long a rank waits for another inside one step',
  },
} as const satisfies Record<string, OptionRecord>
