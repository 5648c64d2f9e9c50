import assert from 'node:assert/strict'
import { closeSync, openSync } from 'node:fs'
import { devNull } from 'node:os'
import { test } from 'node:test'
import { MeshError } from './errors.ts'
import { printFailure, writer } from './failure-lines.ts'

const printed = (error: unknown): string => {
  let text = ''
  printFailure(error, (part) => (text += part))
  return text
}

test('failure: two lines for people; a defect of ours shows its stack, other failures do not', () => {
  const failure = new MeshError('usage', { problem: 'no such thing' }, new Error('cause'))
  assert.match(printed(failure), /^error: .*no such thing\nhint: [^\n]+\n$/)
  const defect = printed(new TypeError('x is no function\n\u001b[31mred'))
  assert.match(defect, /^TypeError: x is no function\n[^\n]*red\n(.*\n)*\s+at .*failure-lines\.test\.ts/)
  assert.match(defect, /\nerror: .*\nhint: .*\n$/)
  assert.ok(!defect.includes('\u001b'))
  assert.doesNotMatch(printed('no error at all'), / {2}at /)
})

test('failure: where nobody reads nothing is thrown', () => {
  const file = openSync(devNull, 'w')
  const write = writer(file)
  write('somebody reads')
  closeSync(file)
  write('nobody reads')
})
