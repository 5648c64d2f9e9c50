import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import type { LedgerEntry } from '../../shared/schema/credits.ts'
import { creditText, shareText } from './commands/credits.ts'
import { ledgerCsv } from './commands/ledger.ts'
import { parseSince } from './ledger-pages.ts'

const now = Date.UTC(2027, 0, 31)

describe('ledger on the command line', () => {
  it('--since takes an age or a date', () => {
    for (const [text, time] of [
      ['1d', now - 86_400_000],
      ['12h', now - 43_200_000],
      ['2027-01-01', Date.UTC(2027, 0, 1)],
      ['2027-01-01T12:00Z', Date.UTC(2027, 0, 1, 12)],
      ['99999d', 0],
    ] as const)
      assert.equal(parseSince(text, now), time, text)
    for (const text of ['', 'yesterday', '2027-13-01', '7', '-1d', '1d ago'])
      assert.throws(
        () => parseSince(text, now),
        (error: unknown) => error instanceof MeshError && error.code === 'usage',
        text,
      )
  })

  it('values are separated by commas, one line an entry, and texts cannot leave their field', () => {
    const entry: LedgerEntry = {
      sequence: 1,
      deviceId: 'ab',
      kind: 'use',
      jobId: 'job"1",\n',
      epoch: 2,
      weights: 0,
      tokens: 5,
      computeUs: 0,
      modelWeights: 7,
      amount: -1,
      settledAt: 9,
      signature: null,
      hash: 'cd',
    }
    assert.equal(
      ledgerCsv([entry]),
      'sequence,settled_at,kind,device_id,job_id,epoch,model_weights,weights,tokens,compute_us,amount,signature,hash\n1,9,"use","ab","job""1"", ' +
        '",2,7,0,5,0,-1,,"cd"\n',
    )
  })

  it('credits and shares are readable', () => {
    assert.deepEqual([0, 999, 1000, -1_234_567].map(creditText), ['0', '999', '1 000', '-1 234 567'])
    assert.deepEqual([0, 1000, 125_000, 1_000_000].map(shareText), ['0.0 %', '0.1 %', '12.5 %', '100.0 %'])
  })
})
