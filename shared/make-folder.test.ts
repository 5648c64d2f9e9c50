import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { makeFolder } from './make-folder.ts'

const temporary = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-folder-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('make folder: with all that lead to it, each for its owner alone; again changes nothing', (t) => {
  const root = temporary(t)
  const folder = join(root, 'a', 'b', 'c')
  for (let again = 0; again < 2; again++) makeFolder(folder, 0o700)
  assert.ok(statSync(folder).isDirectory())
  if (process.platform !== 'win32')
    for (const path of [join(root, 'a'), join(root, 'a', 'b'), folder]) assert.equal(statSync(path).mode & 0o777, 0o700)
  makeFolder(root)
  makeFolder('/')
})

test('make folder: a file in the place of it, or of one above, is an error', (t) => {
  const file = join(temporary(t), 'file')
  writeFileSync(file, '')
  assert.throws(() => makeFolder(file), { code: 'EEXIST' })
  assert.throws(() => makeFolder(join(file, 'below')), { code: 'ENOTDIR' })
  assert.throws(() => makeFolder(join(file, 'far', 'below')), { code: 'ENOTDIR' })
})

// what spins cannot be ended from inside: a process of its own, with a limit
test(
  'make folder: a place that takes no folders says so instead of trying for ever',
  { skip: process.platform !== 'linux' },
  () => {
    const source = new URL('./make-folder.ts', import.meta.url).href
    for (const folder of ['/proc/none', '/proc/none/below', '/proc/self/none/far/below', '/sys/none/below']) {
      const code = `import { makeFolder } from ${JSON.stringify(source)}; makeFolder(${JSON.stringify(folder)})`
      const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', code], {
        encoding: 'utf8',
        timeout: 60_000,
      })
      assert.equal(status, 1, folder)
      assert.match(stderr, /E(?:NOENT|PERM|ACCES|ROFS)[^\n]*mkdir/, folder)
    }
  },
)
