/** A prompt, how its text is drawn, and how answers are printed. */
import type { OptionRecord } from './record.ts'

export const inferenceOptions = {
  prompt: {
    flag: '--prompt',
    value: '<text>',
    type: 'string',
    help: 'text to continue (-: read it from standard input)',
  },
  promptFile: {
    flag: '--prompt-file',
    value: '<file>',
    type: 'string',
    help: 'file with the text to continue (-: standard input)',
  },
  sealed: {
    flag: '--sealed',
    type: 'switch',
    help:
      'seal prompt and answer between this machine and rank 0 of the ring: ' +
      'hides text from the control plane and from members that are not in the ring; it still sees model, settings, ' +
      'numbers of tokens and times',
  },
  chat: {
    flag: '--chat',
    type: 'switch',
    help: 'treat the prompt as a question: apply the chat template of the model',
  },
  special: {
    flag: '--special',
    type: 'switch',
    help:
      'take text that is written like a special token of the model (<|end|>) as that token; else it is text, ' +
      'in prompts and in questions',
  },
  maxTokens: {
    flag: '--max-tokens',
    value: '<n>',
    type: 'integer',
    default: 200,
    min: 1,
    max: 1_000_000,
    help: 'stop after this many tokens',
  },
  temperature: {
    flag: '--temperature',
    value: '<t>',
    type: 'number',
    default: 0.7,
    min: 0,
    max: 10,
    help: '0 is greedy',
  },
  topP: {
    flag: '--top-p',
    value: '<p>',
    type: 'number',
    default: 0.9,
    min: 0,
    max: 1,
    help: 'keep the likeliest tokens of this total probability',
  },
  topK: {
    flag: '--top-k',
    value: '<n>',
    type: 'integer',
    default: 0,
    min: 0,
    max: 1024,
    help: 'keep the n likeliest tokens (0: all)',
  },
  minP: {
    flag: '--min-p',
    value: '<p>',
    type: 'number',
    default: 0,
    min: 0,
    max: 1,
    help: 'drop tokens less likely than this times the likeliest',
  },
  repetitionPenalty: {
    flag: '--repetition-penalty',
    value: '<x>',
    type: 'number',
    default: 1,
    min: 0.1,
    max: 10,
    help: 'above 1 makes used tokens less likely',
  },
  seed: {
    flag: '--seed',
    value: '<n>',
    type: 'integer',
    min: 0,
    max: 2 ** 32 - 1,
    help: 'same seed, same text: always on the same ring, on any ring with f32, often with q8 and q4 (default: random)',
  },
  stop: { flag: '--stop', value: '<text>', type: 'list', help: 'end the text before this string (may be repeated)' },
  since: {
    flag: '--since',
    value: '<time>',
    type: 'string',
    help: 'only what is newer: an age (7d, 12h) or a date (2027-01-31)',
  },
  csv: { flag: '--csv', type: 'switch', help: 'print comma-separated values with a head line' },
  json: { flag: '--json', type: 'switch', help: 'print one JSON object instead of text' },
} as const satisfies Record<string, OptionRecord>
