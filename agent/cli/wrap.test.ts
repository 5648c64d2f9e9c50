import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { padded, textWidth, wrapLines } from './wrap.ts'

describe('text in lines', () => {
  it('letters of East Asia and pictures take two cells, accents none', () => {
    for (const [text, cells] of [
      ['', 0],
      ['duck', 4],
      ['\u65e5\u672c', 4],
      ['\u{1f986}', 2],
      ['e\u0301', 1],
    ] as const)
      assert.equal(textWidth(text), cells, JSON.stringify(text))
    assert.equal(padded('\u65e5', 4), '\u65e5  ')
    assert.equal(padded('ab', 2), 'ab')
    assert.equal(padded('abc', 2), 'abc')
  })

  it('a line takes as many words as fit, to the last cell', () => {
    assert.deepEqual(wrapLines('one two three', 7), ['one two', 'three'])
    assert.deepEqual(wrapLines('one two three', 6), ['one', 'two', 'three'])
    assert.deepEqual(wrapLines('one two three', 13), ['one two three'])
    assert.deepEqual(wrapLines('\u65e5\u672c \u8a9e', 6), ['\u65e5\u672c', '\u8a9e'])
  })

  it('lines behind the first are indented, and the indent takes its cells', () => {
    assert.deepEqual(wrapLines('aa bb cc dd', 5, { hanging: 2 }), ['aa bb', '  cc', '  dd'])
    assert.deepEqual(wrapLines('aa bb cc dd', 7, { hanging: 2 }), ['aa bb', '  cc dd'])
    assert.deepEqual(wrapLines('ab cd', 2, { hanging: 5 }), ['ab', '     c', '     d'], 'at least a letter a line')
  })

  it('a word that is wider than a line is broken, in the line that it begins', () => {
    assert.deepEqual(wrapLines('abcdefg', 3), ['abc', 'def', 'g'])
    assert.deepEqual(wrapLines('ab cdefg', 3), ['ab', 'cde', 'fg'])
    assert.deepEqual(wrapLines('\u65e5\u672c\u8a9e', 4), ['\u65e5\u672c', '\u8a9e'])
    assert.deepEqual(wrapLines('\u65e5', 1), ['\u65e5'])
  })

  it('what people copy stays whole where that is asked for, and only that', () => {
    const id = 'a1'.repeat(16)
    for (const word of [id, 'mesh-invite:abc', '/ip4/127.0.0.1', '("/etc/hosts']) {
      assert.deepEqual(wrapLines(`x ${word} y`, 8, { whole: true }), ['x', word, 'y'])
      assert.ok(!wrapLines(`x ${word} y`, 8).includes(word), word)
    }
    for (const word of ['a1'.repeat(15), 'ordinarily', 'Mesh:everything'])
      assert.ok(wrapLines(word, 8, { whole: true }).length > 1, word)
  })
})
