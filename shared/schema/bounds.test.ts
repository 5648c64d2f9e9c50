/** What schemas of what comes from outside let in: the last value that they take, the first that they do not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { limits } from '../limits.ts'
import { ApiKeyCreation } from './api-key.ts'
import { Range } from './common.ts'
import { SignedStatement } from './credits.ts'
import { DeviceRegistration } from './device.ts'
import { AskedJob, JobSubmission, Message, Sampling, SealedPrompt } from './job.ts'
import { Commitment, usableBytes } from './lock.ts'
import { ModelManifest } from './model.ts'
import { InviteProof, PoolCreation } from './pool.ts'
import { RingEpoch, RingJoin, RingLinkTable } from './ring.ts'

const hex64 = 'ab'.repeat(32)
const sampling = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 7 }
const submission = {
  modelId: 'owner/name:tag',
  prompt: 'Once',
  maxTokens: 10,
  sampling,
  stop: ['\n'],
  idempotencyKey: 'k'.repeat(8),
}
const shape = { layers: 2, hidden: 64, heads: 4, kvHeads: 2, headDim: 16, ffn: 96, vocab: 160, context: 100 }
const model = { modelId: 'name', revision: hex64, shape, weightBytes: 1 }
const statement = {
  kind: 'work',
  jobId: 'job_1',
  epoch: 1,
  weights: 1,
  tokens: 1,
  computeUs: 0,
  signature: 'ab'.repeat(64),
}
const commitment = { sequence: 1, phase: 'locked', memoryBytes: 1, cooldownMs: 0, at: 0 }
const key = { keyId: 'ab'.repeat(8), hash: hex64, name: 'app', lifetimeMs: 1000 }
const links = (count: number): object[] =>
  Array.from({ length: count }, () => ({ from: 0, to: 1, roundTripMs: 1, bytesPerSecond: 1, measured: true }))
const epoch = {
  ringId: 'ring',
  poolId: hex64,
  epoch: 1,
  model,
  quant: 'q8',
  members: [
    {
      deviceId: hex64,
      name: 'a',
      peerId: 'p',
      addresses: [],
      rank: 0,
      share: 1,
      ranges: Object.fromEntries(['kvHeads', 'heads', 'ffn', 'vocab'].map((name) => [name, { start: 0, end: 1 }])),
    },
  ],
}

/** Each with a value that it takes. Nothing beside what they name is let in. */
const closed: Readonly<Record<string, readonly [TSchema, Readonly<Record<string, unknown>>]>> = {
  ApiKeyCreation: [ApiKeyCreation, key],
  AskedJob: [AskedJob, submission],
  DeviceRegistration: [
    DeviceRegistration,
    {
      networkId: 'home',
      name: 'Laptop',
      capabilities: { cpuCores: 1, memoryBytes: 1, platform: 'linux', arch: 'x64', backends: ['ggml'] },
    },
  ],
  InviteProof: [InviteProof, { inviteId: 'ab'.repeat(8), proof: hex64 }],
  JobSubmission: [JobSubmission, submission],
  Message: [Message, { role: 'user', content: 'Hello' }],
  PoolCreation: [
    PoolCreation,
    { poolId: hex64, networkId: 'home', name: 'home', rootPublicKey: hex64, certificate: 'AA' },
  ],
  Range: [Range, { start: 0, end: 1 }],
  RingJoin: [RingJoin, { model, quant: 'f32', share: 1 }],
  Sampling: [Sampling, sampling],
  SealedPrompt: [SealedPrompt, { keyId: 'ab'.repeat(16), enc: 'A'.repeat(43), box: 'AA' }],
  SignedStatement: [SignedStatement, statement],
}

for (const [name, [schema, value]] of Object.entries(closed))
  test(`schema: ${name} takes what it names, all of it and nothing else`, () => {
    assert.ok(Value.Check(schema, value))
    assert.ok(!Value.Check(schema, { ...value, unheardOf: 1 }))
    for (const field of Object.keys(value)) {
      const { [field]: left, ...rest } = value
      if (Value.Check(schema, rest))
        assert.ok(['prompt', 'idempotencyKey'].includes(field), `${name} does without ${field}`)
      assert.ok(!Value.Check(schema, { ...value, [field]: Symbol(String(left)) }), `${field} may be anything`)
    }
  })

const largest32 = 4_294_967_295

/** Schema, a value of it, a field, what that may be at the most, and what is too much. */
const borders: readonly (readonly [TSchema, object, string, unknown, unknown])[] = [
  [Sampling, sampling, 'temperature', 10, 10.1],
  [Sampling, sampling, 'topP', 1, 1.1],
  [Sampling, sampling, 'minP', 0, -0.1],
  [Sampling, sampling, 'repetitionPenalty', 0.1, 0.09],
  [Sampling, sampling, 'topK', limits.candidates, limits.candidates + 1],
  [Sampling, sampling, 'seed', largest32, largest32 + 1],
  [JobSubmission, submission, 'maxTokens', 1_000_000, 1_000_001],
  [JobSubmission, submission, 'maxTokens', 1, 0],
  [JobSubmission, submission, 'idempotencyKey', 'k'.repeat(8), 'k'.repeat(7)],
  [SignedStatement, statement, 'tokens', largest32, largest32 + 1],
  [SignedStatement, statement, 'weights', Number.MAX_SAFE_INTEGER, 2 ** 53],
  [Commitment, commitment, 'sequence', largest32, largest32 + 1],
  [Commitment, commitment, 'sequence', 1, 0],
  [Commitment, commitment, 'memoryBytes', 1_125_899_906_842_624, 1_125_899_906_842_625],
  [Commitment, commitment, 'cooldownMs', 1_099_511_627_776, 1_099_511_627_777],
  [ApiKeyCreation, key, 'lifetimeMs', 31_622_400_000, 31_622_400_001],
  [ApiKeyCreation, key, 'lifetimeMs', 1000, 999],
  [ApiKeyCreation, key, 'tokensPerDay', limits.keyTokens, limits.keyTokens + 1],
  [ModelManifest, model, 'charactersPerToken', 16_777_216, 16_777_217],
  [RingEpoch, epoch, 'epoch', largest32, largest32 + 1],
  [RingEpoch, epoch, 'epoch', 1, 0],
]

for (const [schema, value, field, last, first] of borders)
  test(`schema: ${field} may be ${String(last)}, not ${String(first)}`, () => {
    assert.ok(Value.Check(schema, { ...value, [field]: last }))
    assert.ok(!Value.Check(schema, { ...value, [field]: first }))
  })

test('schema: a ring has one link for each pair of ranks at the most', () => {
  const pairs = 2016 // 64 ranks
  assert.equal(limits.worldSize, 64)
  assert.ok(Value.Check(RingLinkTable, links(pairs)))
  assert.ok(!Value.Check(RingLinkTable, links(pairs + 1)))
})

test('schema: of locked memory 93 % are for shards and caches, rounded down', () => {
  assert.equal(usableBytes(2 ** 20), 975_175)
  assert.equal(usableBytes(2 ** 20 + 1), 975_176)
  assert.equal(usableBytes(0), 0)
})
