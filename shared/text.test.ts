/** What text of others may do where it is shown: be read. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { MeshError } from './errors.ts'
import { printFatal } from './fatal.ts'
import { flowingText, namePattern, oneLine, shownName, terminalJson, terminalText } from './text.ts'

const anyText = fc.string({ unit: 'binary', maxLength: 60 })
const isQuiet = (text: string): boolean => !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(text)

describe('text of others', () => {
  it('in one line: what is not seen is shown, breaks are spaces', () => {
    assert.equal(oneLine('\u001b[2Jx\u0007\u009b\u202e\u200b'), '?[2Jx????')
    assert.equal(oneLine('lost\r\nerror: forged\n\thint\u2028x\u0085y'), 'lost error: forged hint x y')
    assert.equal(oneLine('Ünï 日本 🦊 a\u0301'), 'Ünï 日本 🦊 a\u0301')
    assert.equal(oneLine('\ud800'), '?')
    fc.assert(fc.property(anyText, (text) => isQuiet(oneLine(text))))
  })

  it('generated text keeps line ends, tabs, every letter and joined emoji, and loses escapes', () => {
    assert.equal(
      flowingText('Ünï\tcode 🦊 👨\u200d👩\n\u001b[31m\r\u009b\u202e\u2066\ufeff'),
      'Ünï\tcode 🦊 👨\u200d👩\n[31m',
    )
  })

  it('what a program prints keeps bold, dim and colours, and nothing else that steers', () => {
    const own = '\u001b[1mbold\u001b[22m \u001b[2mdim\u001b[22m \u001b[31mred\u001b[39m \u001b[90mgrey\u001b[39m\n'
    assert.equal(terminalText(own), own)
    assert.equal(
      terminalText('\u001b[2J\u001b[1A\u001b[8m\u001b]0;t\u0007\u001b[1;31m\u001b7\r'),
      '[2J[1A[8m]0;t[1;31m7',
    )
    fc.assert(
      fc.property(anyText, (text) =>
        isQuiet(
          terminalText(text)
            .replaceAll(/[\n\t\u200c\u200d]/g, '')
            .replaceAll(new RegExp(String.raw`\u001b\[\d\d?m`, 'g'), ''),
        ),
      ),
    )
  })

  it('JSON has the same value, and steers nothing', () => {
    fc.assert(
      fc.property(fc.array(anyText), (value) => {
        const json = terminalJson(JSON.stringify(value, null, 2))
        assert.deepEqual(JSON.parse(json), value)
        return isQuiet(json.replaceAll('\n', ''))
      }),
    )
  })

  it('names can be seen, all of them', () => {
    const isName = (name: string): boolean => new RegExp(namePattern, 'u').test(name)
    for (const name of ['a', 'Ünï code', '日本', '🦊', 'हिन्दी', '-', '.']) assert.ok(isName(name), name)
    for (const name of [
      '',
      ' ',
      '\u3164\u2800',
      '\u0301',
      '\u200b',
      'a\u200b',
      'a\u009b',
      'a\nb',
      'a\u2029b',
      'a\ud800',
    ])
      assert.ok(!isName(name), JSON.stringify(name))
    assert.equal(shownName('a\u200bb', 'x'), 'a?b')
    assert.equal(shownName(' \u3164', 'x'), 'x')
    fc.assert(fc.property(anyText, (text) => isName(shownName(text, 'x'))))
  })

  it('errors are one line each, whoever wrote their fields, and so are reports', () => {
    const forged = 'gone\nerror: forged\u001b]0;t\u0007'
    const failure = new MeshError('peerLost', { peer: forged, rank: 1, problem: forged })
    assert.equal(failure.message, 'lost gone error: forged?]0;t? (rank 1) while the job ran: gone error: forged?]0;t?')
    assert.ok(isQuiet(MeshError.fromReport({ code: forged, message: forged }).message))
    const { message, hint, code, fields } = MeshError.cleanReport({
      code: forged,
      message: forged,
      hint: forged,
      fields: { [forged]: forged, rank: 1 },
    })
    assert.ok([message, hint, code, ...Object.keys(fields), String(Object.values(fields)[0])].every(isQuiet))
    let printed = ''
    printFatal(new Error(`bad\u001b[2J\n    at x`), { stderr: (text) => void (printed += text) })
    assert.ok(isQuiet(printed.replaceAll('\n', '')))
  })
})
