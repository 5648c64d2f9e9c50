import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type ComputeUnit, ComputeUnits, computeUnitsFolder } from './compute-units.ts'

const folderFor = (t: TestContext): string => {
  const root = mkdtempSync(join(tmpdir(), 'mesh-units-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  return join(root, 'units')
}

/** A process that ends when told. */
const other = async (t: TestContext): Promise<{ readonly pid: number; end(): Promise<void> }> => {
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] })
  t.after(() => child.kill('SIGKILL'))
  await once(child, 'spawn')
  return {
    pid: child.pid as number,
    end: async () => {
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

test('units of other processes are seen, with what they told, until they are taken away or their process ends', async (t) => {
  const folder = folderFor(t)
  const [here, there] = [new ComputeUnits(folder), new ComputeUnits(folder)]
  const { pid, end } = await other(t)
  const unit = { pid: process.pid, agent: process.pid, wanted: 3, cpus: [0, 1], groups: ['/a'] }
  assert.deepEqual(here.list(), [])
  assert.equal(here.add(unit), undefined)
  assert.equal(here.add({ pid, agent: process.pid, wanted: 1, groups: [] }), undefined)
  const seen = there.list().toSorted((a, b) => a.wanted - b.wanted)
  const told = (one: Omit<ComputeUnit, 'mark' | 'namespace'>): unknown[] => [
    one.pid,
    one.agent,
    one.wanted,
    one.cpus,
    one.groups,
  ]
  assert.deepEqual(seen.map(told), [{ pid, agent: process.pid, wanted: 1, groups: [] }, unit].map(told))
  here.add({ ...unit, wanted: 5 })
  assert.equal(there.list().find((one) => one.pid === process.pid)?.wanted, 5)
  await end()
  assert.deepEqual(
    there.list().map((one) => one.pid),
    [process.pid],
  )
  here.remove(process.pid)
  assert.deepEqual(there.list(), [])
})

test('what is no unit of a running process counts for nothing: dead ones go, what cannot be known goes after a day', (t) => {
  const folder = folderFor(t)
  const units = new ComputeUnits(folder)
  units.add({ pid: process.pid, agent: process.pid, wanted: 3, groups: [] })
  const [own] = units.list()
  const write = (name: string, content: object | string): void =>
    writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content))
  write('999999999.json', { ...own, pid: 999999999, mark: undefined }) // ended
  write('1.json', { ...own, pid: 1, mark: 'another boot/1' }) // ended, and its id was given out again
  write('5.json', { ...own, namespace: 'pid:[5]' }) // of another container
  write('2.json', '{"pid": 2')
  write('3.json', { ...own, wanted: -2 })
  write('4.json', { ...own, filler: 'x'.repeat(70_000) })
  write('notes.txt', 'not ours')
  assert.deepEqual(units.list(), [own])
  const names = ['2.json', '3.json', '4.json', '5.json', `${process.pid}.json`, 'notes.txt']
  assert.deepEqual(readdirSync(folder).toSorted(), names.toSorted())
  for (const name of readdirSync(folder))
    utimesSync(join(folder, name), new Date(), new Date(Date.now() - 25 * 3600 * 1000))
  assert.deepEqual(units.list(), [own])
  assert.deepEqual(readdirSync(folder).toSorted(), [`${process.pid}.json`, 'notes.txt'].toSorted())
})

test('a folder that others may write, or that cannot be made, is not used, and the reason is told', (t) => {
  const folder = folderFor(t)
  const units = new ComputeUnits(folder)
  const unit = { pid: process.pid, agent: process.pid, wanted: 3, groups: [] }
  units.add(unit)
  chmodSync(folder, 0o777)
  assert.match(units.add(unit) ?? '', /belongs to somebody else/)
  assert.deepEqual(units.list(), [])
  writeFileSync(join(folder, '..', 'file'), '')
  const nowhere = new ComputeUnits(join(folder, '..', 'file', 'units'))
  assert.match(nowhere.add(unit) ?? '', /ENOTDIR|ENOENT/)
  assert.deepEqual(nowhere.list(), [])
  assert.ok(computeUnitsFolder().startsWith(tmpdir()))
})
