import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Type } from 'typebox'
import { Compile } from 'typebox/schema'
import { jsonLine, jsonText, printedSchema, snakeCase } from './printed.ts'

const Peer = Type.Object({ deviceId: Type.String(), latencyP99Ms: Type.Optional(Type.Number()) })
const Answer = Type.Object({
  maxTokens: Type.Integer(),
  isOpen: Type.Optional(Type.Boolean()),
  peers: Type.Array(Peer),
  pids: Type.Record(Type.String(), Type.Object({ startedAt: Type.Integer() })),
  state: Type.Union([Type.Literal('on'), Type.Literal('off')]),
  last: Type.Union([Peer, Type.Object({ problemText: Type.String() }), Type.Null()]),
})
const value = {
  maxTokens: 5,
  peers: [{ deviceId: 'aB', latencyP99Ms: 2, secretKey: 'x' }, { deviceId: 'c' }],
  pids: { 'control plane': { startedAt: 1 }, jobId: { startedAt: 2 } },
  state: 'on',
  last: { problemText: 'no Answer' },
  extra: 1,
}

describe('printed', () => {
  it('names: camelCase, hyphens and spaces become snake_case; what is so already stays', () => {
    for (const [name, wanted] of [
      ['deviceId', 'device_id'],
      ['max-tokens', 'max_tokens'],
      ['control plane', 'control_plane'],
      ['latencyP99Ms', 'latency_p99_ms'],
      ['pool_id', 'pool_id'],
      ['Name', 'name'],
      ['x', 'x'],
      ['', ''],
      ['a_Bc', 'a_bc'],
    ])
      assert.equal(snakeCase(name), wanted)
  })

  it('a value: names are spelled at every depth, what is missing is null, what is not declared is not printed', () => {
    const printed: unknown = JSON.parse(jsonText(Answer, value))
    assert.deepEqual(printed, {
      max_tokens: 5,
      is_open: null,
      peers: [
        { device_id: 'aB', latency_p99_ms: 2 },
        { device_id: 'c', latency_p99_ms: null },
      ],
      pids: { control_plane: { started_at: 1 }, job_id: { started_at: 2 } },
      state: 'on',
      last: { problem_text: 'no Answer' },
    })
    assert.deepEqual(JSON.parse(jsonLine(Answer, value)), printed)
    assert.match(jsonLine(Answer, value), /^[^\n]+\n$/)
    assert.match(jsonText(Answer, value), /^\{\n {2}"max_tokens": 5,\n[^]*\}\n$/)
    assert.equal(jsonText(Type.Array(Peer), []), '[]\n')
  })

  it('a value that fits no form of a union is a defect, not something else in its place', () => {
    assert.throws(
      () => jsonText(Answer, { ...value, last: { deviceId: 5 } }),
      /no form of the answer fits \{"deviceId":5\}/,
    )
  })

  it('the schema: what is printed fits it; another name, a missing one or another type does not', () => {
    const schema = Compile(printedSchema(Answer))
    const printed = JSON.parse(jsonText(Answer, value)) as Record<string, unknown>
    assert.ok(schema.Check(printed))
    const { is_open: _, ...without } = printed
    const wrong = [
      { ...printed, maxTokens: 5 },
      { ...printed, max_tokens: null },
      without,
      { ...printed, pids: { jobId: { started_at: 2 } } },
      { ...printed, peers: [{ device_id: 'x' }] },
      { ...printed, last: {} },
      { ...printed, state: 'maybe' },
      { ...printed, pids: { a: {} } },
    ]
    for (const each of wrong) assert.ok(!schema.Check(each), JSON.stringify(each))
    assert.ok(schema.Check({ ...printed, last: null, is_open: true }))
    const either = Compile(
      printedSchema(Type.Object({ a: Type.Optional(Type.Union([Type.String(), Type.Boolean()])) })),
    )
    assert.deepEqual(
      ['x', true, null, 5].map((a) => either.Check({ a })),
      [true, true, true, false],
    )
    // a form that may be null already is not made so twice
    const twice = JSON.stringify(
      printedSchema(Type.Object({ a: Type.Optional(Type.Union([Type.String(), Type.Null()])) })),
    )
    assert.equal(twice.split('"null"').length, 2)
  })
})
