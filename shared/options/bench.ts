/** What `mesh bench` times, and how ranks sum and what carries it. */
import type { OptionRecord } from './record.ts'

export const benchOptions = {
  shape: {
    flag: '--shape',
    value: '<name>',
    type: 'string',
    choices: ['tinyllama-1.1b', 'llama-160m', 'tiny'],
    default: 'tinyllama-1.1b',
    help: 'sizes of the model that is timed; its weights are random',
  },
  model: {
    flag: '--model',
    value: '<folder>',
    type: 'string',
    help: 'time the model in this folder instead of random weights',
  },
  promptTokens: {
    flag: '--prompt-tokens',
    value: '<n>',
    type: 'integer',
    default: 256,
    min: 1,
    max: 100_000,
    help: 'tokens read before the first one is written',
  },
  tokens: {
    flag: '--tokens',
    value: '<n>',
    type: 'integer',
    default: 32,
    min: 2,
    max: 100_000,
    help: 'tokens written',
  },
  contexts: {
    flag: '--contexts',
    value: '<n,...>',
    type: 'integers',
    min: 1,
    max: 100_000,
    help: 'also time decode behind prompts of these lengths, for example 100,2000',
  },
  sequences: {
    flag: '--sequences',
    value: '<n,...>',
    type: 'integers',
    min: 1,
    max: 64,
    help: 'also time decode of this many sequences at once, for example 1,4,8',
  },
  runs: {
    flag: '--runs',
    value: '<n>',
    type: 'integer',
    default: 5,
    min: 1,
    max: 100,
    help: 'timed runs after one to warm up',
  },
  collective: {
    flag: '--collective',
    value: '<name>',
    type: 'string',
    choices: ['auto', 'ring', 'direct', 'recursive-doubling'],
    default: 'auto',
    help: 'how partial results are summed (rank 0 decides for its ring)',
  },
  wire: {
    flag: '--wire',
    value: '<type>',
    type: 'string',
    choices: ['auto', 'f32', 'f16', 'q8'],
    default: 'auto',
    help:
      'how tensors travel: f16 halves the bytes and rounds to 11 bits, ' +
      'q8 takes a quarter and rounds to 8 bits in blocks; auto is f16 for prompts of quantised models, ' +
      'else f32 (rank 0 decides for its ring)',
  },
  carrier: {
    flag: '--carrier',
    value: '<name>',
    type: 'string',
    choices: ['auto', 'streams'],
    default: 'auto',
    help:
      'what carries the sums: auto opens encrypted sockets between the compute processes where every rank can ' +
      'reach every other one, else streams of libp2p',
  },
  compare: {
    flag: '--compare',
    value: '<name>',
    type: 'string',
    choices: ['llama.cpp'],
    help: 'time this beside it, on the same shape and type of weights',
  },
  collectives: { flag: '--collectives', type: 'switch', help: 'time the all-reduces alone, beside plain TCP' },
  rtt: {
    flag: '--rtt',
    value: '<ms>',
    type: 'number',
    default: 0,
    min: 0,
    max: 10_000,
    help: 'round trip that links are slowed down to, in milliseconds (0: as they are)',
  },
  mbit: {
    flag: '--mbit',
    value: '<n>',
    type: 'number',
    default: 0,
    min: 0,
    max: 100_000,
    help: 'megabits a second that leave each rank (0: as many as the links carry)',
  },
} as const satisfies Record<string, OptionRecord>
