import assert from 'node:assert/strict'
import { appendFileSync, mkdirSync, renameSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { type Home, openHome } from '../../shared/home.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { LogFile } from './log-file.ts'
import { LogFollower, type LogLine, logParts, newestLines } from './log-files.ts'

const at = (seconds: number, msg: string): string =>
  `${JSON.stringify({ level: 30, time: new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString(), name: 'x', msg })}\n`
const messages = (lines: readonly LogLine[]): string[] => lines.map(({ part, entry }) => `${part} ${entry.message}`)

const homeWith = (
  t: TestContext,
  files: Readonly<Record<string, string>>,
): { home: Home; file(name: string): string } => {
  const home = openHome(temporaryFolder(t))
  const file = (name: string): string => join(home.logs, name)
  mkdirSync(home.logs, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(file(name), text)
  return { home, file }
}

describe('newest lines of logs', () => {
  it('are those of all files, by time, the last ones of them', (t) => {
    const { home } = homeWith(t, {
      'agent.log': at(1, 'a') + at(4, 'd'),
      'relay.log': at(2, 'b') + at(3, 'c'),
      'note.txt': 'x\n',
    })
    assert.deepEqual(logParts(home), ['agent', 'relay'])
    assert.deepEqual(messages(newestLines(home, ['agent', 'relay'], 10)), ['agent a', 'relay b', 'relay c', 'agent d'])
    assert.deepEqual(messages(newestLines(home, ['agent', 'relay'], 2)), ['relay c', 'agent d'])
    assert.deepEqual(messages(newestLines(home, ['relay'], 1)), ['relay c'])
    assert.deepEqual(newestLines(home, ['agent'], 0), [])
    assert.deepEqual(newestLines(home, ['nothing'], 5), [])
  })

  it('a line without a time stays behind the one before it', (t) => {
    const { home } = homeWith(t, {
      'agent.log': `${at(1, 'a')}error: it broke\nhint: mend it\n`,
      'relay.log': at(2, 'b'),
    })
    assert.deepEqual(messages(newestLines(home, ['agent', 'relay'], 10)), [
      'agent a',
      'agent error: it broke',
      'agent hint: mend it',
      'relay b',
    ])
  })

  it('go on in the file that was put aside', (t) => {
    const { home } = homeWith(t, { 'agent.log': at(3, 'c'), 'agent.log.1': at(1, 'a') + at(2, 'b') })
    assert.deepEqual(messages(newestLines(home, ['agent'], 2)), ['agent b', 'agent c'])
  })

  it('there are none before anything was logged', (t) => assert.deepEqual(logParts(openHome(temporaryFolder(t))), []))
})

describe('following logs', () => {
  const following = (t: TestContext, home: Home, only?: string): LogFollower => {
    const follower = new LogFollower(home, only)
    t.after(() => follower.stop())
    return follower
  }

  it('gives what is appended, whole lines only, and every file that begins', (t) => {
    const { home, file } = homeWith(t, { 'agent.log': at(1, 'old') })
    const follower = following(t, home)
    assert.deepEqual(follower.read(), [])
    const line = Buffer.from(at(2, 'new é'))
    const cut = line.indexOf(0xc3) + 1 // in the middle of a character
    appendFileSync(file('agent.log'), line.subarray(0, cut))
    assert.deepEqual(follower.read(), [])
    appendFileSync(file('agent.log'), line.subarray(cut))
    writeFileSync(file('relay.log'), at(1, 'first'))
    assert.deepEqual(messages(follower.read()), ['relay first', 'agent new é'])
    assert.deepEqual(follower.read(), [])
  })

  it('one log only, also before it is there', (t) => {
    const { home, file } = homeWith(t, { 'agent.log': at(1, 'a') })
    const follower = following(t, home, 'relay')
    appendFileSync(file('agent.log'), at(2, 'b'))
    assert.deepEqual(follower.read(), [])
    writeFileSync(file('relay.log'), at(3, 'c'))
    assert.deepEqual(messages(follower.read()), ['relay c'])
  })

  it('loses nothing when a file is put aside, and starts again when it is emptied', (t) => {
    const { home, file } = homeWith(t, { 'agent.log': at(1, 'a') })
    const follower = following(t, home)
    appendFileSync(file('agent.log'), at(2, 'b'))
    renameSync(file('agent.log'), file('agent.log.1'))
    writeFileSync(file('agent.log'), at(3, 'c'))
    assert.deepEqual(messages(follower.read()), ['agent b', 'agent c'])
    truncateSync(file('agent.log'))
    assert.deepEqual(follower.read(), [])
    appendFileSync(file('agent.log'), at(4, 'd'))
    assert.deepEqual(messages(follower.read()), ['agent d'])
  })

  it('through the file that our programs write, whatever its bound', (t) => {
    const { home, file } = homeWith(t, {})
    const follower = following(t, home)
    const log = new LogFile(file('agent.log'), 300)
    const seen: string[] = []
    for (let index = 0; index < 50; index++) {
      log.write(at(index, String(index)).trimEnd())
      seen.push(...messages(follower.read()))
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 50 }, (_, index) => `agent ${index}`),
    )
  })
})
