import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { createLogger } from '../../shared/log.ts'
import { Background } from './background.ts'

const full = (): never => {
  throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' })
}

const codeOf = ({ problem }: Background): string | undefined => problem?.code

interface Stage {
  readonly background: Background
  readonly disk: { isFull: boolean; probes: number }
  /** Of the log. */
  readonly lines: readonly string[]
  /** What storing does. */
  write(): void
  /** Lets time pass. */
  pass(ms: number): void
}

const withDisk = (t: TestContext): Stage => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1e9 })
  const disk = { isFull: true, probes: 0 }
  const lines: string[] = []
  const write = (): void => void (disk.isFull && full())
  const logger = createLogger('test', 'error', { write: (line) => void lines.push(line) })
  const background = new Background({ logger, now: Date.now, probe: () => void (disk.probes++, write()) })
  t.after(() => background.stop())
  return { background, disk, lines, write, pass: (ms) => t.mock.timers.tick(ms) }
}

test('background: what fails throws nothing, whatever it is; only a full or broken disk is remembered', (t) => {
  const { background, lines, write } = withDisk(t)
  assert.equal(
    background.run('a defect', () => assert.fail('x')),
    false,
  )
  background.untilStored('a defect', () => assert.fail('x'))
  assert.equal(background.note(new MeshError('notFound')), false)
  assert.equal(background.problem, undefined)
  assert.equal(
    background.run('nothing', () => {}),
    true,
  )
  assert.equal(background.run('storing', write), false)
  for (let time = 0; time < 3; time++) background.untilStored('storing', write)
  assert.equal(codeOf(background), 'storageFull')
  // a defect with what it was, each time; the disk once
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { what?: string }).what ?? 'the disk'),
    ['a defect', 'a defect', 'the disk'],
  )
})

test('background: a database that cannot be used is told as such', (t) => {
  const { background } = withDisk(t)
  for (const code of ['SQLITE_IOERR_WRITE', 'SQLITE_BUSY', 'SQLITE_READONLY_DBMOVED', 'SQLITE_CANTOPEN']) {
    assert.equal(
      background.note(new Error('query failed', { cause: Object.assign(new Error('disk I/O error'), { code }) })),
      true,
    )
    assert.deepEqual(
      [background.problem?.code, background.problem?.message],
      ['storageFailed', 'the control plane cannot use its database: disk I/O error (SQLITE_IOERR_WRITE)'],
    )
  }
  assert.equal(background.note(Object.assign(new Error('constraint'), { code: 'SQLITE_CONSTRAINT' })), false)
})

test('background: a disk that turns out to be full is told, though the database failed in another way before', (t) => {
  const { background, write, lines } = withDisk(t)
  const told: string[] = []
  background.onTrouble(({ code }) => told.push(code))
  const locked = Object.assign(new Error('database is locked'), { code: 'SQLITE_BUSY' })
  for (const failing of [() => assert.fail(locked), write, write, () => assert.fail(locked)])
    background.untilStored('storing', failing)
  assert.deepEqual(told, ['storageFailed', 'storageFull'])
  assert.equal(codeOf(background), 'storageFull')
  assert.equal(lines.length, 2)
})

test('background: what could not be stored is done once there is room, the newest of each name, before anybody hears of it', (t) => {
  const { background, disk, write, pass } = withDisk(t)
  const seen: string[] = []
  background.onTrouble(({ code }) => seen.push(code))
  background.onRecovery(() => seen.push('recovered'))
  const work = (name: string) => () => {
    write()
    seen.push(name)
  }
  background.untilStored('a', work('a old'))
  background.untilStored('a', work('a'))
  background.untilStored('b', work('b'))
  background.untilStored('c', work('c'))
  pass(20_000)
  assert.deepEqual(seen, ['storageFull'])
  disk.isFull = false
  background.untilStored('c', work('c at once'))
  pass(5000)
  assert.deepEqual(seen, ['storageFull', 'c at once', 'a', 'b', 'recovered'])
  assert.equal(background.problem, undefined)
  pass(60_000)
  assert.equal(seen.length, 5)
})

test('background: it is over only when all is stored', (t) => {
  const { background, disk, pass } = withDisk(t)
  let isLargeStored = false
  background.untilStored('large', () => void (isLargeStored || full()))
  disk.isFull = false // room for the probe, and no more
  pass(30_000)
  assert.ok(background.problem)
  isLargeStored = true
  pass(5000)
  assert.equal(background.problem, undefined)
})

test('background: the pause between looks grows to 5 s, stays that long when trouble comes back at once, and ends with it', (t) => {
  const { background, disk, write, pass } = withDisk(t)
  background.run('storing', write)
  for (const [ms, probes] of [
    [250, 1],
    [500, 2],
    [1000, 3],
    [2000, 4],
    [4000, 5],
    [5000, 6],
    [5000, 7],
  ]) {
    pass(ms - 1)
    assert.equal(disk.probes, probes - 1)
    pass(1)
    assert.equal(disk.probes, probes)
  }
  disk.isFull = false
  pass(5000)
  assert.equal(background.problem, undefined)
  disk.isFull = true
  for (const [afterMs, nextMs] of [
    [1000, 5000],
    [61_000, 250],
  ]) {
    pass(afterMs)
    background.run('storing', write)
    const before = disk.probes
    pass(nextMs - 1)
    assert.equal(disk.probes, before)
    disk.isFull = false
    pass(1)
    assert.deepEqual([disk.probes, background.problem], [before + 1, undefined])
    disk.isFull = true
  }
  background.stop()
  background.run('storing', write)
  disk.isFull = false
  pass(60_000)
  assert.equal(codeOf(background), 'storageFull') // nothing is looked at any more
})

test('background: a look on request is a real one, once a second at most', (t) => {
  const { background, disk, pass } = withDisk(t)
  disk.isFull = false
  for (let i = 0; i < 5; i++) background.check()
  assert.equal(disk.probes, 1)
  pass(1000)
  disk.isFull = true
  for (let i = 0; i < 3; i++) assert.throws(() => background.check(), { code: 'storageFull' })
  assert.equal(disk.probes, 2)
  disk.isFull = false
  pass(250)
  background.check()
})
