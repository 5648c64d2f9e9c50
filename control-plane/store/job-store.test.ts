import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { newJobId } from '../../shared/ids.ts'
import { submission } from '../test/plane.ts'
import { openDatabase, type Store } from './database.ts'
import { JobStore } from './job-store.ts'
import { JobTexts } from './job-texts.ts'
import { pools, networks } from './tables.ts'
import { TextVault } from './text-vault.ts'

interface Stage {
  readonly store: Store
  readonly jobStore: JobStore
  readonly jobId: string
  /** A control plane that starts anew on the same file. */
  restarted(): JobStore
  /** Events that were read and unsealed while that ran. */
  readBy(work: () => unknown): number
}

const stage = (t: TestContext): Stage => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-jobs-'))
  const { store, close } = openDatabase(join(folder, 'mesh.sqlite'))
  t.after(() => {
    close()
    rmSync(folder, { recursive: true, force: true })
  })
  store.insert(networks).values({ networkId: 'home', createdAt: 0 }).run()
  store.insert(pools).values({ poolId: 'p', networkId: 'home', name: 'P', rootPublicKey: 'k', createdAt: 0 }).run()
  const texts = new JobTexts(new TextVault(Buffer.alloc(32, 7)))
  const reads = t.mock.method(texts, 'tokensIn').mock
  const jobStore = new JobStore(store, texts)
  const { jobId } = jobStore.submit(newJobId(), { poolId: 'p', submittedBy: 'd', submission: submission('x') }, 1)
  jobStore.advance(jobId, 'running', { epoch: 1, worldSize: 1, now: 2 })
  const readBy = (work: () => unknown): number => {
    const before = reads.callCount()
    work()
    return reads.callCount() - before
  }
  return { store, jobStore, jobId, restarted: () => new JobStore(store, texts), readBy }
}

/** Adds tokens from `first` to below `end`, one a message. */
const write = ({ jobStore, jobId }: Stage, first: number, end: number): void => {
  for (let index = first; index < end; index++) assert.ok(jobStore.addTokens(jobId, index, [index], `${index} `))
}

const textOf = (tokens: number): string => Array.from({ length: tokens }, (_, index) => `${index} `).join('')

test('jobs: asking for one that runs reads what is new, however much it has written', (t) => {
  const one = stage(t)
  const { jobStore, jobId, readBy } = one
  const grown: number[] = []
  for (let written = 0; written < 400; written += 100) {
    write(one, written, written + 99)
    jobStore.find(jobId)
    write(one, written + 99, written + 100)
    grown.push(readBy(() => assert.equal(jobStore.find(jobId)?.text, textOf(written + 100))))
    grown.push(readBy(() => assert.equal(jobStore.list('p', 9)[0].tokens.length, written + 100)))
  }
  assert.deepEqual(grown, [1, 0, 1, 0, 1, 0, 1, 0])
})

test('jobs: the end of one that was asked for reads no event again, and what it shows is whole', (t) => {
  const one = stage(t)
  const { jobStore, jobId, readBy } = one
  write(one, 0, 300)
  jobStore.find(jobId)
  const result = { state: 'failed', text: textOf(300), tokens: [] } as const
  assert.equal(
    readBy(() =>
      jobStore.finish(jobId, { ...result, tokens: Array.from({ length: 300 }, (_, index) => index) }, { now: 9 }),
    ),
    0,
  )
  assert.equal(
    readBy(() => assert.equal(jobStore.find(jobId)?.text, textOf(300))),
    0,
  )
})

test('jobs: after a restart events are read once, and go on from there', (t) => {
  const one = stage(t)
  write(one, 0, 200)
  const jobStore = one.restarted()
  assert.ok(one.readBy(() => assert.equal(jobStore.find(one.jobId)?.text, textOf(200))) >= 200)
  assert.equal(
    one.readBy(() => assert.equal(jobStore.find(one.jobId)?.answered, 200)),
    0,
  )
  write({ ...one, jobStore }, 200, 202)
  assert.equal(
    one.readBy(() => assert.equal(jobStore.find(one.jobId)?.text, textOf(202))),
    2,
  )
})

test('jobs: who is given the tokens of a job cannot change what is known of it', (t) => {
  const one = stage(t)
  write(one, 0, 3)
  one.jobStore.find(one.jobId)?.tokens.push(99)
  assert.deepEqual(one.jobStore.find(one.jobId)?.tokens, [0, 1, 2])
})

test('jobs: tokens that could not be stored are not shown, and come again', (t) => {
  const one = stage(t)
  const { store, jobStore, jobId } = one
  write(one, 0, 2)
  jobStore.find(jobId)
  assert.throws(() =>
    store.transaction(() => {
      write(one, 2, 3)
      throw new Error('the disk is full')
    }),
  )
  assert.equal(jobStore.find(jobId)?.text, textOf(2))
  assert.ok(jobStore.addTokens(jobId, 2, [7], 'again '))
  assert.deepEqual(jobStore.find(jobId)?.tokens, [0, 1, 7])
})
