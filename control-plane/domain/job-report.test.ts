import assert from 'node:assert/strict'
import { test } from 'node:test'
import { errorTable } from '../../shared/errors.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import { leaderReport } from './job-report.ts'

const members = [{ name: 'Desktop' }, { name: 'Laptop' }]
const report = (code: string, fields: Record<string, string | number> = {}): ErrorReportJson => ({
  code,
  message: 'as rank 0 says it',
  hint: 'run what I say',
  fields,
})

test('job report: what can be wrong with a prompt is passed on', () => {
  for (const code of [
    'promptTooLong',
    'promptTooLarge',
    'promptEmpty',
    'tokenOutsideVocabulary',
    'chatTemplateMissing',
    'parameterInvalid',
    'modelConfigInvalid',
    'jobCancelled',
    'epochStale',
    'sealStale',
    'sealBroken',
  ]) {
    assert.equal(leaderReport(members, report(code)).code, code)
  }
})

test('job report: a rank is named by its name, with our words and hint', () => {
  for (const code of [
    'peerLost',
    'collectiveTimeout',
    'rankFailed',
    'peerInvalid',
    'peerFailed',
    'relayLost',
  ] as const) {
    const { message, hint, fields, ...rest } = leaderReport(
      members,
      report(code, { rank: 1, peer: 'Somebody', device: 'Else', problem: 'p', said: 's', seconds: 8 }),
    )
    assert.deepEqual([rest.code, fields?.peer, fields?.rank], [code, 'Laptop', 1])
    assert.equal(fields?.device, code === 'relayLost' ? 'Desktop' : undefined)
    assert.match(message, /Laptop/)
    assert.doesNotMatch(message + hint, /Somebody|Else|as rank 0|what I say/)
  }
})

test('job report: any other code is the failure of rank 0, which is quoted', () => {
  const allowed = new Set([
    'promptTooLong',
    'promptTooLarge',
    'promptEmpty',
    'tokenOutsideVocabulary',
    'chatTemplateMissing',
    'parameterInvalid',
    'modelConfigInvalid',
    'jobCancelled',
    'epochStale',
    'sealStale',
    'sealBroken',
  ])
  for (const code of [...Object.keys(errorTable), 'newerThanWe']) {
    if (allowed.has(code)) continue
    const told = leaderReport(members, report(code, { rank: 7, problem: 'x' }))
    assert.deepEqual(
      [told.code, told.message],
      ['rankFailed', 'Desktop (rank 0) could not compute: "as rank 0 says it"'],
      code,
    )
  }
  for (const rank of [-1, 0.5, '1', 2])
    assert.equal(leaderReport(members, report('peerLost', { rank })).fields?.rank, 0)
  assert.match(leaderReport([], report('internal')).message, /^rank 0 \(rank 0\) could not compute/)
})
