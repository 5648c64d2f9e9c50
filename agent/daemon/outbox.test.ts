import assert from 'node:assert/strict'
import { readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import type { AgentMessage } from '../../shared/api/messages.ts'
import { silentLogger } from '../../shared/log.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { type JobMessage, MessageStore } from '../device/message-store.ts'
import { Outbox } from './outbox.ts'

const timings = {
  queuedMs: 0,
  timeToFirstTokenMs: 1,
  prefillMs: 1,
  decodeMs: 1,
  prefillTokensPerSecond: 1,
  decodeTokensPerSecond: 1,
  computeMs: 1,
  collectiveMs: 1,
}
const token = (jobId: string, firstIndex: number): JobMessage => ({
  type: 'job-tokens',
  jobId,
  epoch: 1,
  firstIndex,
  tokens: [7],
  text: 'x',
})
const done = (jobId: string): JobMessage => ({
  type: 'job-done',
  jobId,
  epoch: 1,
  finishReason: 'stop',
  usage: { promptTokens: 1, completionTokens: 1, totalTokens: 2 },
  timings,
  text: 'x',
  tokens: [7],
})

interface Process {
  readonly outbox: Outbox
  readonly sent: AgentMessage[]
}

/** Each call is a process that starts in the same home. */
const inOneHome = (t: TestContext): { readonly folder: string; start(now?: () => number): Process } => {
  const folder = join(temporaryFolder(t), 'outbox')
  return {
    folder,
    start: (now) => {
      const sent: AgentMessage[] = []
      return {
        outbox: new Outbox(new MessageStore(folder, silentLogger()), (message) => sent.push(message), now),
        sent,
      }
    },
  }
}

describe('outbox', () => {
  it('what ends a job is sent again by the next process, until it is settled; what led to it is not', (t) => {
    const { folder, start } = inOneHome(t)
    const first = start()
    for (const message of [token('job_1', 0), done('job_1'), done('job_2'), token('job_3', 0)])
      first.outbox.post(message)
    first.outbox.settled('job_2')
    first.outbox.settled('job_2')

    const second = start()
    assert.deepEqual(
      [second.outbox.has('job_1'), second.outbox.has('job_2'), second.outbox.has('job_3'), second.sent.length],
      [true, false, false, 0],
    )
    second.outbox.resend()
    assert.deepEqual(second.sent, [done('job_1')])
    second.outbox.settled('job_1')
    assert.deepEqual(readdirSync(folder), [])
    assert.ok(!start().outbox.has('job_1'))
  })

  it('what a kill left half written is cleared away, a damaged file harms no other', (t) => {
    const { folder, start } = inOneHome(t)
    start().outbox.post(done('job_1'))
    const [file] = readdirSync(folder)
    assert.equal(statSync(join(folder, file)).mode & 0o777, 0o600)
    writeFileSync(join(folder, `${file}.abcd.tmp`), '{"type":')
    writeFileSync(join(folder, 'damaged.json'), '{"type":"job-done"}')
    const { outbox, sent } = start()
    outbox.resend()
    assert.deepEqual(sent, [done('job_1')])
    assert.deepEqual(readdirSync(folder).toSorted(), [file, 'damaged.json'].toSorted())
  })

  it('an answer that nobody takes is given up after a week, by this process or the next, also after a clock ran ahead', (t) => {
    const { folder, start } = inOneHome(t)
    const day = 86_400_000
    let at = Date.now()
    const { outbox } = start(() => at)
    for (const id of ['job_1', 'job_2']) outbox.post(done(id))
    outbox.post(token('job_3', 0)) // still runs: nothing of it is on the disk
    const [file] = readdirSync(folder)
    utimesSync(join(folder, file), (at + 300 * day) / 1000, (at + 300 * day) / 1000)
    at += 7 * day - 60_000
    outbox.forgetOld()
    assert.equal(readdirSync(folder).length, 2)
    at += 120_000
    outbox.forgetOld()
    assert.deepEqual(readdirSync(folder), [file])
    at += 7 * day
    assert.deepEqual(
      [start(() => at).outbox.has('job_1'), start(() => at).outbox.has('job_2'), readdirSync(folder)],
      [false, false, []],
    )
    assert.ok(outbox.has('job_3'))
  })

  it('the id of a job names no other file, and a folder that cannot be written costs no message', (t) => {
    const { folder, start } = inOneHome(t)
    start().outbox.post(done('../../device.key'))
    assert.deepEqual(readdirSync(join(folder, '..')), ['outbox'])
    assert.ok(start().outbox.has('../../device.key'))

    const root = temporaryFolder(t)
    writeFileSync(join(root, 'file'), '')
    const sent: AgentMessage[] = []
    const outbox = new Outbox(new MessageStore(join(root, 'file'), silentLogger()), (message) => sent.push(message))
    outbox.post(done('job_1'))
    assert.deepEqual([sent, outbox.has('job_1')], [[done('job_1')], true])
  })
})
