import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { isProcessAlive, isSameProcessAlive, processMark } from './process-alive.ts'

test('process: one that runs is alive, also somebody else’s, and one that ended is not', async () => {
  assert.ok(isProcessAlive(process.pid))
  assert.ok(isProcessAlive(1), 'the first process of the machine, whoever asks')
  const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' })
  await once(child, 'exit')
  assert.ok(!isProcessAlive(child.pid!))
  assert.ok(!isSameProcessAlive({ pid: child.pid! }))
})

test('process: a mark tells one from another that has its id now', { skip: process.platform !== 'linux' }, async () => {
  const mark = processMark(process.pid)
  assert.ok(mark)
  assert.equal(processMark(process.pid), mark)
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
  const other = processMark(child.pid!)
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert.ok(other !== undefined && other !== mark)
  assert.equal(other.split('/')[0], mark.split('/')[0], 'both of this boot')
  assert.ok(isSameProcessAlive({ pid: process.pid, mark }))
  assert.ok(!isSameProcessAlive({ pid: process.pid, mark: other }))
  assert.ok(isSameProcessAlive({ pid: process.pid }), 'by its id alone where it left none')
  assert.equal(processMark(child.pid!), undefined)
})
