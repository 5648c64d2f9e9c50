/** `npm test` itself: what it prints last, and that it fails for a failed test and for a process left behind. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { temporaryFolder } from './support/homes.ts'
import { eventually, type RunResult, runProgram } from './support/processes.ts'

const runner = fileURLToPath(new URL('run.ts', import.meta.url))

const run = (t: TestContext, body: string): Promise<RunResult> => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'inner.test.mjs')
  writeFileSync(file, `import { test } from 'node:test'\nimport { spawn } from 'node:child_process'\n${body}\n`)
  // the variable tells Node's runner that it runs inside of itself, which this one shall not notice
  return runProgram(process.execPath, [runner, file], { home: folder, env: { NODE_TEST_CONTEXT: undefined } })
}

/** Gone, or dead and not yet collected by its parent. */
const isOver = (pid: string): boolean => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1') === ''
  } catch {
    return true
  }
}

describe('npm test', () => {
  it('ends with the counts of the test runner and with 0 when all pass', async (t) => {
    const { code, stdout } = await run(
      t,
      "test('a fact', () => {}); test('home', (t) => { if " +
        "(!process.env.MESHNET_HOME?.includes('mesh-test-home-')) throw new Error('not a home of its own') })",
    )
    assert.equal(code, 0, stdout)
    assert.match(stdout, /ℹ tests 2\n(?:ℹ .*\n)*ℹ pass 2\nℹ fail 0\n(?:ℹ .*\n)+$/)
  })

  it('fails when a test fails', async (t) => {
    const { code, stdout } = await run(t, "test('a fact', () => { throw new Error('no') })")
    assert.equal(code, 1)
    assert.match(stdout, /ℹ fail 1\n/)
  })

  it('fails when a process is left behind, names it and ends it', async (t) => {
    const { code, stdout, stderr } = await run(
      t,
      "test('a fact', () => { spawn('sleep', ['321'], { detached: true, stdio: 'ignore' }).unref() })",
    )
    if (process.platform !== 'linux') return // only Linux tells what environment a process was started with
    assert.match(stdout, /ℹ fail 0\n/)
    assert.equal(code, 1)
    const [, pid] = /error: a test left process (\d+) behind: sleep 321\n/.exec(stderr) ?? []
    await eventually(5000, 'it is ended', () => (isOver(pid) ? true : undefined))
  })

  it('says which files took longest, once there are many, and what means no test', async (t) => {
    const folder = temporaryFolder(t)
    for (let index = 0; index < 20; index++)
      writeFileSync(join(folder, `${index}.test.mjs`), `import { test } from 'node:test'\ntest('${index}', () => {})`)
    const home = temporaryFolder(t)
    const env = { NODE_TEST_CONTEXT: undefined }
    const { code, stdout } = await runProgram(process.execPath, [runner, join(folder, '*.test.mjs')], { home, env })
    assert.equal(code, 0, stdout)
    assert.match(stdout, /(?:ℹ +\d+ s .*\/\d+\.test\.mjs\n){15}ℹ tests 20\n/)
    const none = await runProgram(process.execPath, [runner, join(folder, 'none.test.mjs')], { home, env })
    assert.equal(none.code, 1)
    assert.match(none.stderr, /^error: there is no test .*none\.test\.mjs\nhint: /m)
  })
})
