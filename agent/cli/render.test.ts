import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ago, counted, fields, rangesText, rangeText, table, validity } from './render.ts'

describe('render', () => {
  it('a table has aligned columns and no spaces at line ends', () => {
    assert.equal(
      table(
        ['name', 'role'],
        [
          ['a', 'admin'],
          ['longer name', ''],
        ],
        { columns: 80 },
      ),
      'name         role\na            admin\nlonger name\n',
    )
  })

  it('fields are aligned', () =>
    assert.equal(
      fields([
        ['a', '1'],
        ['long', '2'],
      ]),
      'a     1\nlong  2\n',
    ))

  it('a name from another device cannot steer the terminal', () => {
    assert.ok(!table(['name'], [['\u001b[31mred']], { columns: 80 }).includes('\u001b'))
    assert.ok(!fields([['name', '\u001b]0;title\u0007']]).includes('\u001b'))
  })

  it('times are short', () => {
    assert.equal(ago(1000, 5000), '4 s ago')
    assert.equal(ago(9000, 5000), '0 s ago')
    assert.equal(ago(0, 5 * 60e3), '5 min ago')
    assert.equal(ago(0, 5 * 3600e3), '5 h ago')
    assert.equal(ago(0, 5 * 86400e3), '5 d ago')
    assert.equal(validity(2 * 86400e3 + 3600e3, 0), '2 d 1 h')
    assert.equal(validity(86400e3, 700), '24 h')
    assert.equal(validity(7 * 86400e3, 3000), '7 d')
    assert.equal(validity(500, 0), '1 s')
    assert.equal(validity(0, 1), 'expired')
  })

  it('ranges are shown with both ends and their length', () => {
    assert.equal(rangeText({ start: 0, end: 4 }), '0-3 (4)')
    assert.equal(rangeText({ start: 4, end: 4 }), '-')
    const range = { start: 0, end: 2 }
    const ranges = { heads: range, kvHeads: range, ffn: range, vocab: range, parts: { 'delta 2x6x16x16': range } }
    assert.equal(
      rangesText(ranges),
      'kv heads 0-1 (2), heads 0-1 (2), MLP columns 0-1 (2), delta 2x6x16x16: 0-1 (2), vocabulary 0-1 (2)',
    )
    assert.equal(counted(1, 'worker'), '1 worker')
    assert.equal(counted(2, 'worker'), '2 workers')
  })
})
