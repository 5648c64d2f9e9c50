import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, it } from 'node:test'
import { lastHint, lastWords, ProcessOutput } from './process-output.ts'

interface Child {
  readonly stdout: PassThrough
  readonly stderr: PassThrough
  readonly output: ProcessOutput
  readonly lines: string[]
}

const child = (): Child => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  const lines: string[] = []
  return { stdout, stderr, lines, output: new ProcessOutput({ stdout, stderr }, (line) => lines.push(line)) }
}
const ended = async (stream: PassThrough, text: string): Promise<void> => {
  const end = new Promise((resolve) => stream.once('end', resolve))
  stream.end(text)
  await end
}

describe('what a child process prints', () => {
  it('its ready line is the first object with that event, wherever the line is cut on its way', async () => {
    const { stdout, output } = child()
    stdout.write('starting\n{"event":"other"}\n{broken\n{"event":"rea')
    await ended(stdout, 'dy","url":"x"}\n{"event":"ready","url":"y"}\nlast')
    assert.deepEqual(await output.ready, { event: 'ready', url: 'x' })
    assert.equal(output.stdout.split('\n').length, 7)
    assert.ok(output.stdout.endsWith('}\nlast\n'), 'the last line counts without its end')
  })

  it('where no ready line can come any more, whoever waits is told why', async () => {
    const { output } = child()
    output.notReady(new Error('gone'))
    await assert.rejects(output.ready, { message: 'gone' })
  })

  it('of stderr the last twenty lines are kept, and all are passed on', async () => {
    const { stderr, output, lines } = child()
    await ended(stderr, Array.from({ length: 23 }, (_, index) => `line ${index}\n`).join(''))
    assert.equal(lines.length, 23)
    assert.deepEqual([output.tail.length, output.tail[0], output.tail.at(-1)], [20, 'line 3', 'line 22'])
  })

  it('of stdout no more is kept than a command prints', async () => {
    const { stdout, output } = child()
    const line = `${'x'.repeat(2 ** 20 - 1)}\n`
    await ended(stdout, line.repeat(6))
    assert.equal(output.stdout.length, 4 * line.length)
  })

  it('a child that could not be started prints nothing', () => {
    assert.deepEqual(new ProcessOutput({ stdout: null, stderr: null }).tail, [])
  })

  it('its last words are the error that it told, else its last line, and the hint is its own', () => {
    assert.equal(lastWords(['error: no room', 'hint: free some', 'bye']), 'no room')
    assert.equal(lastWords(['a', 'an error: inside']), 'an error: inside')
    assert.equal(lastWords([]), 'it said nothing')
    assert.equal(lastWords([`error: ${'x'.repeat(400)}`]).length, 300)
    assert.deepEqual(lastHint(['error: a', 'hint: b']), { look: 'b' })
    assert.deepEqual(lastHint(['a hint: b']), {})
  })
})
