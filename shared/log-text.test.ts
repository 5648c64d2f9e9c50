import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createLogger } from './log.ts'
import { logText, parseLogLine } from './log-text.ts'

const written = (log: (logger: ReturnType<typeof createLogger>) => void): string => {
  let line = ''
  log(createLogger('agent', 'trace', { write: (text) => (line += text) }))
  return line.trimEnd()
}
const text = (line: string, options = {}): string => logText(parseLogLine(line), { colour: false, ...options })
const clock = /^\d\d:\d\d:\d\d /

describe('log line', () => {
  it('what our loggers write is time, level, part, message and the rest as names with values', () => {
    const line = written((logger) =>
      logger.warn({ relay: '/ip4/1.2.3.4', count: 3, names: ['a', 'b'], problem: 'it is gone' }, 'no slot'),
    )
    assert.match(text(line), clock)
    assert.equal(
      text(line).replace(clock, ''),
      'WARN  agent: no slot  relay=/ip4/1.2.3.4 count=3 names=["a","b"] problem="it is gone"',
    )
    assert.match(text(line, { withDay: true }), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WARN  agent: no slot/)
  })

  it('every level by its name', () => {
    for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const) {
      assert.equal(parseLogLine(written((logger) => logger[level]('x'))).level, level)
    }
    assert.equal(parseLogLine('{"level":35,"msg":"x"}').level, 'info')
    assert.equal(parseLogLine('{"msg":"x"}').level, 'info')
  })

  it('the stack of an error has lines of its own', () => {
    const [head, first, ...rest] = text(
      written((logger) => logger.error({ err: new Error('boom') }, 'it failed')),
    ).split('\n')
    assert.match(head, /ERROR agent: it failed$/)
    assert.equal(first, '    Error: boom')
    assert.ok(rest.length > 0 && rest.every((line) => line.startsWith('    at ')))
    assert.equal(text('{"level":50,"msg":"x","err":"text"}'), 'ERROR x')
  })

  it('what is no JSON object is a message: the last words of a process', () => {
    assert.equal(text('error: port 8080 is in use'), 'ERROR error: port 8080 is in use')
    for (const line of ['Segmentation fault', '[1,2]', '"text"', '7', 'null', '{"broken":'])
      assert.equal(text(line), `INFO  ${line}`)
    assert.equal(text(''), 'INFO  ')
  })

  it('nothing in it steers the terminal, long values are cut', () => {
    const line = JSON.stringify({
      level: 30,
      name: 'a\u001b[2J',
      msg: 'title \u001b]0;x\u0007 \u202Eevil',
      'k\n': 'v\u009b1m\r',
      long: 'x'.repeat(1000),
    })
    // eslint-disable-next-line no-control-regex -- these are what must not be there
    assert.doesNotMatch(text(line), /[\u0000-\u001f\u007f-\u009f\u202e]/)
    assert.match(text(line), / k ="v\?1m " long=x{400}\.\.\.$/)
  })

  it('time in text or in milliseconds; one that is neither is left out', () => {
    assert.equal(parseLogLine('{"time":"2026-11-26T14:00:00.000Z"}').time, Date.UTC(2026, 10, 26, 14))
    assert.equal(parseLogLine('{"time":1000}').time, 1000)
    assert.equal(parseLogLine('{"time":"soon"}').time, undefined)
    assert.equal(text('{"time":"soon","level":30,"msg":"x"}'), 'INFO  x')
  })

  it('colours where they are wanted: the level by how bad it is', () => {
    assert.equal(
      logText({ level: 'error', message: 'x', fields: { a: 1 } }, { colour: true }),
      '\u001b[31mERROR\u001b[39m x  \u001b[2ma=1\u001b[22m',
    )
    const painted = logText(
      { level: 'info', time: 0, name: 'n', message: 'x', fields: {} },
      { colour: true },
    ).replaceAll('\u001b', '<')
    assert.match(painted, /^<\[2m\d\d:\d\d:\d\d<\[22m <\[32mINFO <\[39m n: x$/)
  })
})
