import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { describe, it } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import type { CommandContext, Input } from './command.ts'
import { decodePrompt, readPrompt } from './prompt.ts'

const from = (...parts: (string | Buffer)[]): Input => ({
  isTTY: false,
  mayIdle: true,
  stream: Readable.from(
    parts.map((part) => Buffer.from(part as string)),
    { objectMode: false },
  ),
})
const nothing: Input = from()
/** A pipe that stays open with nobody writing. */
const idle = (): Input => ({ isTTY: false, mayIdle: true, stream: new PassThrough() })

const read = (
  stdin: Input,
  values: { prompt?: string; promptFile?: string },
  signal = new AbortController().signal,
): Promise<string> =>
  readPrompt(
    { stdin, signal, stderr: { write: () => undefined, isTTY: false, columns: 80 } } as unknown as CommandContext,
    values,
  )
const failsWith =
  (code: string, problem: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof MeshError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, problem)
    return true
  }

describe('prompt', () => {
  it('is the argument, a file or standard input', async (t) => {
    const file = join(temporaryFolder(t), 'story.txt')
    writeFileSync(file, 'Once in a file\n')
    assert.equal(await read(nothing, { prompt: 'Once' }), 'Once')
    assert.equal(await read(nothing, { promptFile: file }), 'Once in a file')
    for (const values of [{}, { prompt: '-' }, { promptFile: '-' }])
      assert.equal(await read(from('Once ', 'piped'), values), 'Once piped')
    // an argument is taken as it is, a line end at its end included
    assert.equal(await read(nothing, { prompt: ' Once\r\n' }), ' Once\r\n')
  })

  it('of a file loses a byte-order mark and one line end at its end, and nothing else', () => {
    for (const [given, text] of [
      ['a\n', 'a'],
      ['a\r\n', 'a'],
      ['a\n\n', 'a\n'],
      ['a', 'a'],
      ['a\r', 'a\r'],
      [' a\r\nb \t\n', ' a\r\nb \t'],
      ['\ufeffa\n', 'a'],
      ['a\ufeff', 'a\ufeff'],
      ['', ''],
      ['\n', ''],
      ['ä🦊\ufffd\n', 'ä🦊\ufffd'],
    ])
      assert.equal(decodePrompt(Buffer.from(given), 'x'), text, JSON.stringify(given))
  })

  it('in parts that cut a character is whole', async () => {
    const bytes = Buffer.from('ein Füchslein 🦊')
    assert.equal(await read(from(...[...bytes].map((byte) => Buffer.from([byte]))), {}), 'ein Füchslein 🦊')
  })

  it('is refused with its line when it is no text', async (t) => {
    await assert.rejects(read(from(Buffer.from([0x0a, 0xff])), {}), failsWith('promptUnreadable', /line 2 is not text/))
    const [latin, binary] = [Buffer.from('eins\nzw\xe4i\n', 'latin1'), Buffer.from('PK\u0003\u0004\n\0\n')]
    await assert.rejects(
      read(from(latin), {}),
      failsWith('promptUnreadable', /standard input: line 2 is not text in UTF-8/),
    )
    await assert.rejects(
      read(from(binary), { prompt: '-' }),
      failsWith('promptUnreadable', /standard input: line 2 holds a NUL/),
    )
    await assert.rejects(
      read(nothing, { prompt: 'zw\ufffdi' }),
      failsWith('promptUnreadable', /the command line: it is not text in UTF-8/),
    )
    const folder = temporaryFolder(t)
    writeFileSync(join(folder, 'utf16'), Buffer.from('\ufeffOnce', 'utf16le'))
    mkdirSync(join(folder, 'folder'))
    for (const [name, code, problem] of [
      ['utf16', 'promptUnreadable', /utf16: line 1 is not text/],
      ['none', 'fileMissing', /none/],
      ['folder', 'fileUnreadable', /folder.*directory/],
    ] as const)
      await assert.rejects(read(nothing, { promptFile: join(folder, name) }), failsWith(code, problem))
  })

  it('of more than can be taken is refused before all of it is read', async () => {
    let asked = 0
    const endless = new Readable({
      read() {
        asked++
        this.push(Buffer.alloc(65_536, 'a'))
      },
    })
    await assert.rejects(
      read({ isTTY: false, mayIdle: true, stream: endless }, {}),
      failsWith('promptTooLarge', new RegExp(`more than ${limits.promptLength.toLocaleString('en')} characters`)),
    )
    assert.ok(asked < (1.1 * (4 * limits.promptLength)) / 65_536 + 4, `${asked} parts`)
  })

  it('that is given twice is refused', async () => {
    await assert.rejects(
      read(nothing, { prompt: 'a', promptFile: 'b' }),
      failsWith('usage', /either a prompt or --prompt-file/),
    )
    for (const values of [{ prompt: 'Once' }, { promptFile: '/dev/null' }]) {
      await assert.rejects(read(from('and more'), values), failsWith('promptTwice', /from standard input too/))
    }
  })

  it('beside standard input that is empty, or open with nobody writing, is taken', async () => {
    for (const stdin of [from(), from(''), idle(), { ...idle(), isTTY: true }])
      assert.equal(await read(stdin, { prompt: 'Once' }), 'Once')
  })

  it('that nobody gives in a terminal is asked for by words, not by silence', async () => {
    await assert.rejects(
      read({ ...idle(), isTTY: true }, {}),
      failsWith('usage', /no prompt is given: mesh inference "Once/),
    )
  })

  it('is no longer waited for after an interrupt', async () => {
    const interrupted = new AbortController()
    const waiting = read(idle(), {}, interrupted.signal)
    interrupted.abort()
    await assert.rejects(waiting, { name: 'AbortError' })
  })
})
