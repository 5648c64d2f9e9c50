import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Evidence } from './evidence.ts'

const tolerance = 0.005
const of = (...errors: number[]): Evidence => {
  const evidence = new Evidence()
  for (const [index, error] of errors.entries()) evidence.add({ error, tolerance, jobId: `job-${index}` })
  return evidence
}

test('evidence: one small error is no verdict, two of eight are, nine apart are not', () => {
  assert.equal(of(0.01).isWrong, false)
  assert.equal(of(0.005, 0.005, 0.005).isWrong, false)
  assert.equal(of(0.01, 0, 0, 0, 0, 0, 0, 0.01).isWrong, true)
  assert.equal(of(0.01, 0, 0, 0, 0, 0, 0, 0, 0.01).isWrong, false)
})

test('evidence: one gross error is enough, and so is what is no number', () => {
  for (const error of [0.031, 5, NaN, Infinity]) assert.equal(of(error).isWrong, true, String(error))
  assert.equal(of(NaN).worst, Number.MAX_VALUE)
  assert.equal(of(0.03).isWrong, false)
})

test('evidence: each check says whether it was wrong', () => {
  const evidence = new Evidence()
  for (const [error, want] of [
    [0.004, false],
    [0.006, true],
    [0.2, true],
    [0, false],
    [NaN, true],
  ] as const)
    assert.equal(evidence.add({ error, tolerance }), want)
  assert.equal(of(0.004).isWrong, false)
})

test('evidence: a verdict stays, jobs are those that were wrong, and are bounded', () => {
  const evidence = of(0.2, ...Array.from({ length: 50 }, () => 0))
  assert.equal(evidence.isWrong, true)
  assert.deepEqual([evidence.checks, evidence.wrong, evidence.worst, evidence.jobs], [51, 1, 0.2, ['job-0']])
  const many = of(...Array.from({ length: 40 }, () => 0.2))
  assert.equal(many.jobs.length, 16)
  assert.equal(many.jobs.at(-1), 'job-39')
  assert.deepEqual(new Evidence().jobs, [])
})
