import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MeshError } from './errors.ts'
import { systemFailureOf } from './system-failure.ts'

const failure = (code: string, more: object = {}): Error => Object.assign(new Error('no'), { code, ...more })

test('system failure: what a disk says is no defect of Mesh, and names the file where the system does', () => {
  const cases = [
    [failure('ENOSPC', { path: '/x/y' }), 'cannot write /x/y: the disk is full (more room is needed)'],
    [failure('EDQUOT'), 'cannot write a file: the disk is full (more room is needed)'],
    [failure('SQLITE_FULL'), 'the disk of the control plane is full: it can store nothing'],
    [failure('SQLITE_IOERR_FSYNC'), 'the control plane cannot use its database: no (SQLITE_IOERR_FSYNC)'],
  ] as const
  for (const [error, message] of cases) {
    assert.deepEqual([MeshError.from(error).message, MeshError.from(error).exitCode], [message, 5])
    assert.match(MeshError.from(error).hint, /disk|space/)
  }
  for (const code of ['EACCES', 'SQLITE_CONSTRAINT_UNIQUE', 'SQLITE_ERROR', 'XSQLITE_FULL'])
    assert.equal(MeshError.from(failure(code)).code, 'internal', code)
  for (const value of [undefined, 'ENOSPC', { code: 'ENOSPC' }, new Error('x', { cause: 'y' })])
    assert.equal(systemFailureOf(value), undefined)
})

test('system failure: it is found below what others made of it, and a ring of causes ends', () => {
  let error = failure('SQLITE_FULL')
  for (let depth = 0; depth < 4; depth++) error = new Error('query failed', { cause: error })
  assert.equal(systemFailureOf(error)?.code, 'storageFull')
  const ring = new Error('ring')
  ring.cause = ring
  assert.equal(systemFailureOf(ring), undefined)
})
