/** One process for one folder, whatever ends the one before. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { temporaryFolder } from '../test/support/homes.ts'
import { holderOf, lockFolder, lockOrHolder, takeLock } from './folder-lock.ts'

const moduleUrl = new URL('./folder-lock.ts', import.meta.url).href
/** Tries once, says how that went, and stays until it is killed or told to go. */
const program = `import { takeLock } from '${moduleUrl}'
const lock = takeLock(process.argv[1])
console.log(lock ? 'held' : 'refused')
process.stdin.on('data', () => lock?.release()).on('end', () => process.exit(0))`

interface Contender {
  readonly child: ChildProcess
  readonly said: Promise<string>
  kill(): Promise<void>
}

const contend = (t: TestContext, file: string): Contender => {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program, file], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const kill = (): Promise<void> => {
    child.kill('SIGKILL')
    return gone
  }
  t.after(kill)
  return {
    child,
    said: new Promise((resolve) =>
      child.stdout.setEncoding('utf8').once('data', (text: string) => resolve(text.trim())),
    ),
    kill,
  }
}

test('folder lock: of many processes at once one holds it, and SIGKILL frees it', { timeout: 300_000 }, async (t) => {
  const file = join(temporaryFolder(t), 'deep', 'a.lock')
  for (let round = 0; round < 12; round++) {
    const contenders = Array.from({ length: 4 }, () => contend(t, file))
    const said = await Promise.all(contenders.map((one) => one.said))
    assert.deepEqual(said.toSorted(), ['held', 'refused', 'refused', 'refused'], `round ${round}`)
    const holder = contenders[said.indexOf('held')]
    assert.equal(holderOf(file), holder.child.pid)
    await assert.rejects(lockFolder(file, 'a test'), {
      code: 'folderInUse',
      fields: { what: 'a test', folder: join(file, '..'), pid: holder.child.pid },
    })
    await Promise.all(contenders.map((one) => one.kill()))
  }
})

test('folder lock: given back it can be taken again, by the same process too, and by one at a time', (t) => {
  const file = join(temporaryFolder(t), 'a.lock')
  const first = takeLock(file)
  assert.ok(first)
  assert.equal(takeLock(file), undefined)
  first.release()
  first.release() // twice does no harm to the next holder
  const second = takeLock(file)
  assert.ok(second)
  first.release()
  assert.equal(takeLock(file), undefined)
  second.release()
})

test('folder lock: the holder of before is not named', (t) => {
  const file = join(temporaryFolder(t), 'a.lock')
  writeFileSync(`${file}.pid`, '4194304\n') // above the largest id of a process
  assert.equal(holderOf(file), undefined)
  const lock = takeLock(file)
  assert.equal(holderOf(file), process.pid)
  lock?.release()
})

test('folder lock: a note that names no process names nobody', (t) => {
  const file = join(temporaryFolder(t), 'a.lock')
  for (const note of ['0\n', '-1\n', '1.5\n', 'x\n', '']) {
    writeFileSync(`${file}.pid`, note)
    assert.equal(holderOf(file), undefined, note)
  }
})

test('folder lock: while nobody is known to hold it, it is asked for again', async (t) => {
  const file = join(temporaryFolder(t), 'a.lock')
  const first = takeLock(file)
  writeFileSync(`${file}.pid`, '4194304\n')
  const asked = lockOrHolder(file)
  await new Promise((resolve) => setTimeout(resolve, 120))
  first?.release()
  const second = await asked
  assert.ok('release' in second)
  writeFileSync(`${file}.pid`, '4194304\n')
  const startedAt = Date.now()
  assert.deepEqual(await lockOrHolder(file), { pid: 'unknown' })
  assert.ok(Date.now() - startedAt > 1000, 'its process id may come late on a busy machine')
  second.release()
})

test('folder lock: a folder that cannot be made is told', (t) => {
  const file = join(temporaryFolder(t), 'file')
  writeFileSync(file, '')
  assert.throws(() => takeLock(join(file, 'a.lock')), { code: 'stateUnwritable' })
})
