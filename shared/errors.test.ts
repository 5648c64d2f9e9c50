import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, errorTable, exitCodes, MeshError, problemOf } from './errors.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Every source file that may throw, without tests and without the table itself. */
const sources = ['shared', 'agent', 'bench', 'control-plane', 'relay-server']
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
  )
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && !file.startsWith(join('shared', 'errors')))
  .map((file) => ({ file, text: readFileSync(join(root, file), 'utf8') }))

describe('errors', () => {
  it('the table: every exit code is a documented one', () => {
    const known: readonly number[] = Object.values(exitCodes)
    for (const [code, record] of Object.entries(errorTable))
      assert.ok(known.includes(record.exit), `${code} has exit code ${record.exit}`)
  })

  it('the table: every status is an HTTP error, every text and hint says something', () => {
    for (const [code, record] of Object.entries(errorTable)) {
      assert.ok(record.status >= 400 && record.status < 600, `${code} has status ${record.status}`)
      assert.ok(record.text.length > 0 && record.hint.length > 0, `${code} says nothing`)
      assert.ok(!record.text.includes('\n') && !record.hint.includes('\n'), `${code} has more than one line`)
    }
  })

  it('the table: every code that is thrown exists', () => {
    for (const { file, text } of sources) {
      for (const [, code] of text.matchAll(/new MeshError\(\s*'(\w+)'/g))
        assert.ok(code in errorTable, `${file} throws ${code}`)
    }
  })

  it('the table: every code is used by some source', () => {
    const unused = Object.keys(errorTable).filter(
      (code) => !sources.some(({ text }) => new RegExp(`'${code}'`).test(text)),
    )
    assert.deepEqual(unused, [])
  })

  it('a MeshError fills text and hint with its fields and keeps an unknown hole', () => {
    const error = new MeshError('ringEmpty', { modelId: 'tiny-story' })
    assert.equal(error.message, 'no device serves tiny-story in this pool')
    assert.equal(error.hint, 'mesh join-ring --model-id tiny-story, then mesh start')
    assert.equal(error.status, 409)
    assert.equal(error.exitCode, 6)
    assert.equal(new MeshError('notFound', { what: 'job' }).message, 'there is no job {id}')
  })

  it('a report survives the way through another process', () => {
    const error = new MeshError('promptTooLong', { tokens: 600, context: 512 })
    const report = JSON.parse(JSON.stringify(error.toReport())) as ReturnType<MeshError['toReport']>
    const again = MeshError.fromReport(report)
    assert.equal(again.code, 'promptTooLong')
    assert.equal(again.message, error.message)
    assert.deepEqual(again.fields, error.fields)
  })

  it('a report with a code of a newer version becomes an internal error that still says what happened', () => {
    const error = MeshError.fromReport({ code: 'invented', message: 'moon in the way' })
    assert.equal(error.code, 'internal' satisfies ErrorCode)
    assert.match(error.message, /invented: moon in the way/)
  })

  it('a report cannot name a code that the table only inherits', () => {
    assert.equal(MeshError.fromReport({ code: 'toString', message: 'x' }).code, 'internal')
  })

  it('a thrown value that is no MeshError becomes an internal error with its cause', () => {
    const cause = new TypeError('x is undefined')
    const error = MeshError.from(cause)
    assert.equal(error.code, 'internal')
    assert.equal(error.cause, cause)
    const known = new MeshError('noPool')
    assert.equal(MeshError.from(known), known)
  })

  it('problemOf names the cause behind a failure, and a code where there is no message', () => {
    assert.equal(
      problemOf(new Error('fetch failed', { cause: new Error('connect ECONNREFUSED') })),
      'fetch failed (connect ECONNREFUSED)',
    )
    assert.equal(problemOf(Object.assign(new Error(''), { code: 'ECONNRESET' })), 'ECONNRESET')
    assert.equal(problemOf('text'), 'text')
  })
})
