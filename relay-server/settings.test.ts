import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { parseArgs } from 'node:util'
import { parseFlags } from '../shared/flags.ts'
import { readSettings, writeSettings } from './settings.ts'

const fileIn = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-relay-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'relay.json')
}

const settings = {
  host: '0.0.0.0',
  port: 4100,
  announce: ['/ip4/203.0.113.7/tcp/4001', '/dns4/relay.example/tcp/4001'],
  maxReservations: 7,
  servedPools: ['ab'.repeat(32), 'cd'.repeat(32)],
}
const options = (file: string, ...args: string[]) =>
  parseFlags(['host', 'port', 'announce', 'maxReservations', 'servedPools'], parseArgs, {
    args,
    defaults: () => readSettings(file),
  })

test('settings: what the relay ran with holds the next time, a flag is stronger', (t) => {
  const file = fileIn(t)
  writeSettings(file, settings, ['/ip4/127.0.0.1/tcp/4100/p2p/x'])
  assert.deepEqual(options(file), settings)
  writeSettings(file, { ...settings, announce: [] }, [])
  assert.deepEqual(options(file), { ...settings, announce: [] })
  writeSettings(file, settings, [])
  assert.deepEqual(options(file, '--port', '4200', '--announce', '/ip4/203.0.113.8/tcp/1'), {
    ...settings,
    port: 4200,
    announce: ['/ip4/203.0.113.8/tcp/1'],
  })
})

test('settings: a file by hand may name some only, no file names none', (t) => {
  const file = fileIn(t)
  assert.deepEqual(options(file), { host: '127.0.0.1', announce: [], maxReservations: 1000, servedPools: [] })
  writeFileSync(file, '{"maxReservations": 12}')
  assert.deepEqual(options(file), { host: '127.0.0.1', announce: [], maxReservations: 12, servedPools: [] })
})

test('settings: a damaged file is named, and so is a value out of range', (t) => {
  const file = fileIn(t)
  for (const [text, problem] of [
    ['{', /relay\.json/],
    ['{"port": "x"}', /port/],
    ['[]', /relay\.json/],
    ['{"port": 70000}', /port/],
  ] as const) {
    writeFileSync(file, text)
    assert.throws(
      () => options(file),
      (error: Error & { code?: string }) => error.code === 'stateUnreadable' && problem.test(error.message),
    )
  }
})
