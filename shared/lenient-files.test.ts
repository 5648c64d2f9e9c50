import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryFolder } from '../test/support/homes.ts'
import { isFolder, namesIn, textOf } from './lenient-files.ts'

test('lenient files: what is there is seen, what is not is nothing', (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'note')
  writeFileSync(file, 'hello')
  assert.deepEqual([textOf(file), namesIn(folder), isFolder(folder)], ['hello', ['note'], true])
  for (const missing of [join(folder, 'none'), join(file, 'below')]) {
    assert.deepEqual([textOf(missing), namesIn(missing), isFolder(missing)], [undefined, [], false])
  }
  assert.deepEqual([textOf(folder), namesIn(file), isFolder(file)], [undefined, [], false])
})
