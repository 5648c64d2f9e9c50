import assert from 'node:assert/strict'
import { test } from 'node:test'
import { reportedBy } from './peer-report.ts'

const second = { rank: 1, name: 'Second' }

test('peer report: who could not compute is named with its problem, else what it says is quoted', () => {
  for (const code of ['rankFailed', 'backendFailed']) {
    const error = reportedBy(second, { code, message: 'it broke', fields: { problem: 'no memory' } })
    assert.equal(error.code, 'rankFailed')
    assert.match(error.message, /Second \(rank 1\).*"no memory"/)
    assert.match(reportedBy(second, { code, message: 'it broke' }).message, /"it broke"/, 'it told no problem')
  }
  const error = reportedBy(second, { code: 'diskFull', message: 'no room', fields: { problem: 'a field' } })
  assert.equal(error.code, 'peerFailed')
  assert.match(error.message, /Second \(rank 1\).*"no room"/)
})

test('peer report: its words are one line, end no quotation, and are cut behind 300 characters', () => {
  const said = (message: string): string => reportedBy(second, { code: 'x', message }).message
  assert.match(said('a\n"b"'), /"a ?.*'b'"/)
  assert.ok(!said('a\nb').includes('\n'))
  assert.ok(said('x'.repeat(300)).includes(`"${'x'.repeat(300)}"`))
  assert.ok(said('x'.repeat(301)).includes(`"${'x'.repeat(300)}..."`))
})
