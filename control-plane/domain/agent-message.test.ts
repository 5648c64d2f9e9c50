import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readAgentMessage } from './agent-message.ts'

const read = (message: object): object => readAgentMessage(JSON.stringify(message))

const malformed: readonly [text: string, problem: RegExp][] = [
  ['', /not JSON/],
  ['{"type":"heartbeat"', /not JSON/],
  ['null', /message /],
  ['{}', /message /],
  ['{"type":"none"}', /message /],
  ['{"type":"job-progress","jobId":"job_1","epoch":1,"readTokens":-1}', /message |readTokens/],
]
for (const [text, message] of malformed)
  test(`agent message: refused: ${text || 'nothing'}`, () =>
    assert.throws(() => readAgentMessage(text), { code: 'requestInvalid', message }))

test('agent message: what is in order comes as it was sent', () => {
  const heartbeat = { type: 'heartbeat', freeMemoryBytes: 1 }
  assert.deepEqual(read(heartbeat), heartbeat)
  const state = { type: 'ring-state', ringId: 'r', epoch: 1, state: 'ready', progress: 1 }
  assert.deepEqual(read(state), state)
})

test('agent message: words that others are shown are one line without control characters', () => {
  const hostile = 'first\nsecond\u001b[31m'
  const failed = { type: 'job-failed', jobId: 'job_1', epoch: 1, error: { code: 'rankFailed', message: hostile } }
  const { error } = read(failed) as { error: { message: string } }
  assert.doesNotMatch(error.message, /\p{Cc}/u)
  const check = { rank: 1, checks: 2, wrong: 1, worst: 0.5, isWrong: false, jobs: [] }
  const state = { type: 'ring-state', ringId: 'r', epoch: 1, state: 'ready', progress: 1 }
  const { checks } = read({ ...state, checks: [{ ...check, problem: hostile }, check] }) as {
    checks: { problem?: string }[]
  }
  assert.doesNotMatch(checks[0].problem ?? '\n', /\p{Cc}/u)
  assert.deepEqual(checks[1], check)
  const choice = { bytes: 100, algorithm: 'ring' }
  const figures = { roundTripMs: 1, bytesPerSecond: 1e6 }
  const network = {
    links: [],
    slowest: figures,
    collective: 'auto',
    carrier: 'streams',
    streamsReason: hostile,
    decode: choice,
    prefill: choice,
  }
  const told = read({ ...state, network }) as { network: typeof network; checks?: unknown }
  assert.deepEqual(told.network, { ...network, streamsReason: told.network.streamsReason })
  assert.match(told.network.streamsReason, /^first second/)
  assert.doesNotMatch(told.network.streamsReason, /\p{Cc}/u)
  assert.equal(told.checks, undefined)
  const { streamsReason: _, ...silent } = network
  assert.deepEqual((read({ ...state, network: silent }) as typeof told).network, silent)
})
