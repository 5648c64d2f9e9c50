import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Type } from 'typebox'
import { temporaryFolder } from '../../test/support/homes.ts'
import { readChecked } from './checked-state.ts'

const schema = Type.Object({ count: Type.Integer({ minimum: 1 }) })

test('checked state: what fits is read, and a file that is not there is nothing', (t) => {
  const file = join(temporaryFolder(t), 'state.json')
  assert.equal(readChecked(file, schema), undefined)
  writeFileSync(file, '{"count": 2}')
  assert.deepEqual(readChecked(file, schema), { count: 2 })
})

test('checked state: a damaged file is named, with the place in it and what is wrong there', (t) => {
  const file = join(temporaryFolder(t), 'state.json')
  const problems: Readonly<Record<string, RegExp>> = {
    '{"count": 0}': /\/count must be >= 1/,
    '[]': /the content must be object/,
    '{"count"': /state\.json/,
  }
  for (const [content, problem] of Object.entries(problems)) {
    writeFileSync(file, content)
    assert.throws(
      () => readChecked(file, schema),
      (error: { code: string; message: string }) =>
        error.code === 'stateUnreadable' && error.message.includes(file) && problem.test(error.message),
      content,
    )
  }
})
