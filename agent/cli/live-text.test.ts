import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Output } from './command.ts'
import { createLiveText } from './live-text.ts'

/** What a terminal of some size would show: enough of it for the sequences that are used. */
class Terminal {
  readonly columns: number
  readonly rows: number
  screen: string[][]
  scrolled: string[] = []
  row = 0
  column = 0
  #saved = { row: 0, column: 0 }

  constructor(columns: number, rows: number) {
    this.columns = columns
    this.rows = rows
    this.screen = Array.from({ length: rows }, () => [])
  }

  #down(): void {
    if (this.row < this.rows - 1) this.row++
    else {
      this.scrolled.push(this.#line(0))
      this.screen = [...this.screen.slice(1), []]
    }
  }

  #line(row: number): string {
    return Array.from(this.screen[row], (character) => character ?? ' ')
      .join('')
      .trimEnd()
  }

  #print(character: string): void {
    if (this.column === this.columns) {
      this.#down()
      this.column = 0
    }
    this.screen[this.row][this.column++] = character
  }

  write(text: string): void {
    // eslint-disable-next-line no-control-regex
    for (const [whole, count, command, single] of text.matchAll(/\u001b\[(\d*)([A-Za-z])|\u001b([D78])|[^]/gu)) {
      if (command === 'A') this.row = Math.max(0, this.row - Number(count || 1))
      else if (command === 'B') this.row = Math.min(this.rows - 1, this.row + Number(count || 1))
      else if (command === 'J')
        this.screen = this.screen.map((line, row) =>
          row < this.row ? line : row > this.row ? [] : line.slice(0, this.column),
        )
      else if (command === 'K') this.screen[this.row] = this.screen[this.row].slice(0, this.column)
      else if (single === 'D') this.#down()
      else if (single === '7') this.#saved = { row: this.row, column: this.column }
      else if (single === '8') ({ row: this.row, column: this.column } = this.#saved)
      else if (whole === '\r') this.column = 0
      else if (whole === '\n') {
        this.#down()
        this.column = 0
      } else if (command === undefined) this.#print(whole)
      // a pending wrap is forgotten
      if (command === 'A' || command === 'B' || single === 'D') this.column = Math.min(this.column, this.columns - 1)
    }
  }

  /** All lines, also those that scrolled away, without empty ones at the end. */
  get lines(): string[] {
    return [...this.scrolled, ...this.screen.map((_, row) => this.#line(row))].join('\n').trimEnd().split('\n')
  }
}

const outputTo = (terminal: Terminal): Output => ({
  write: (text) => terminal.write(text),
  control: (text) => terminal.write(text),
  isTTY: true,
  columns: terminal.columns,
})
const silent = (): Output & { text: string } => ({
  text: '',
  isTTY: false,
  columns: 80,
  write(part: string) {
    this.text += part
  },
  control(part: string) {
    this.text += part
  },
})

const story =
  'Once upon a time there was a fox.\n\nIt lived in a wood, and it had a friend who was a very small bird indeed.'
const words = story.split(/(?<= )/)

/** How a terminal of this width shows the text. */
const wrapped = (text: string, columns: number): string[] =>
  text
    .split('\n')
    .flatMap((line) =>
      line === '' ? [''] : (line.match(new RegExp(`.{1,${columns}}`, 'g')) ?? []).map((part) => part.trimEnd()),
    )

describe('live text', () => {
  for (const [columns, rows] of [
    [80, 24],
    [20, 24],
    [20, 3],
    [7, 4],
    [33, 2],
  ] as const) {
    it(`the text is whole and the status gone at the end, on ${columns} x ${rows}`, () => {
      const terminal = new Terminal(columns, rows)
      let time = 0
      const live = createLiveText(outputTo(terminal), outputTo(terminal), () => (time += 200))
      words.forEach((word, index) => {
        live.text(word)
        live.status(`status ${index}`)
      })
      live.end()
      assert.deepEqual(terminal.lines, wrapped(story, columns))
    })
  }

  it('the status is on the line below the text while it comes', () => {
    const terminal = new Terminal(40, 10)
    let time = 0
    const live = createLiveText(outputTo(terminal), outputTo(terminal), () => (time += 200))
    live.text('Once upon')
    live.status('2 workers')
    assert.deepEqual(terminal.lines, ['Once upon', '2 workers'])
    live.text(' a time')
    assert.deepEqual(terminal.lines, ['Once upon a time', '2 workers'])
    live.status('2 workers · 9 tok/s')
    assert.deepEqual(terminal.lines, ['Once upon a time', '2 workers · 9 tok/s'])
    live.end()
    assert.deepEqual(terminal.lines, ['Once upon a time'])
    assert.equal(terminal.column, 0)
  })

  it('colours take no room: text that ends at the edge of the screen stays whole', () => {
    const terminal = new Terminal(20, 5)
    const live = createLiveText(outputTo(terminal), outputTo(terminal), () => 0)
    live.text('\u001b[1mbold\u001b[22m')
    live.status('status')
    live.text(' and then plain.')
    live.text(' More.')
    live.end()
    assert.deepEqual(terminal.lines, ['bold and then plain.', ' More.'])
  })

  it('a status longer than the line is cut', () => {
    const terminal = new Terminal(10, 10)
    const live = createLiveText(outputTo(terminal), outputTo(terminal), () => 0)
    live.text('x')
    live.status('a status that does not fit')
    assert.deepEqual(terminal.lines, ['x', 'a status '.trimEnd()])
  })

  it('pipes get the text and nothing else', () => {
    const [stdout, stderr] = [silent(), silent()]
    const live = createLiveText(stdout, stderr, () => 0)
    for (const word of words) {
      live.text(word)
      live.status('never seen')
    }
    live.end()
    assert.equal(stdout.text, `${story}\n`)
    assert.equal(stderr.text, '')
  })

  it('text in a file and status in the terminal do not mix', () => {
    const [stdout, terminal] = [silent(), new Terminal(40, 3)]
    let time = 0
    const live = createLiveText(stdout, outputTo(terminal), () => (time += 200))
    live.text('Once')
    live.status('1')
    live.text(' upon')
    live.status('22')
    assert.deepEqual(terminal.lines, ['22'])
    live.end()
    assert.deepEqual(terminal.lines, [''])
    assert.equal(stdout.text, 'Once upon\n')
  })
})
