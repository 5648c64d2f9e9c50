import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseArgs } from 'node:util'
import { parseFlags } from './flags.ts'
import { type OptionName, optionRecord, optionTable } from './options.ts'

const ofType = (type: string): OptionName =>
  (Object.keys(optionTable) as OptionName[]).find((name) => optionRecord(name).type === type)!

test('flags: a switch takes no value, a list may be given again, other options take one', () => {
  const [flag, list] = [ofType('switch'), ofType('list')]
  const args = [optionRecord(flag).flag, optionRecord(list).flag, 'a', optionRecord(list).flag, 'b', '--port', '8080']
  const values = parseFlags([flag, list, 'port'], parseArgs, { args }) as Record<string, unknown>
  assert.equal(values[flag], true)
  assert.deepEqual(values[list], ['a', 'b'])
  assert.equal(values.port, 8080)
})

test('flags: what is unknown, or of the wrong kind, is a usage error that names it', () => {
  for (const args of [['--no-such-flag'], ['--port'], ['--port', 'many'], ['loose']])
    assert.throws(() => parseFlags(['port'], parseArgs, { args }), { code: 'usage' }, args.join(' '))
})

test('flags: defaults are for what nobody names, and are told what was given', () => {
  let seen: object | undefined
  const read = (args: string[]): unknown =>
    parseFlags(['port', 'host'], parseArgs, {
      args,
      defaults: (given) => {
        seen = given
        return { port: '1234' }
      },
    }).port
  assert.equal(read([]), 1234)
  assert.equal(read(['--port', '99']), 99)
  assert.deepEqual({ ...seen }, { port: '99', host: undefined })
})
