import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from './errors.ts'
import { jsonWanted, printFatal } from './fatal.ts'

describe('fatal', () => {
  it('a MeshError is one line of what went wrong and one of what to do', () => {
    let [out, text] = ['', '']
    const code = printFatal(new MeshError('noPool'), {
      stdout: (part) => (out += part),
      stderr: (part) => (text += part),
    })
    assert.equal(out, '', 'stdout is for results')
    assert.equal(text, 'error: this device is in no pool\nhint: mesh pool-create --name home; or mesh join INVITE\n')
    assert.equal(code, 3)
  })

  it('a defect shows its stack and ends with 1', () => {
    let text = ''
    const code = printFatal(new TypeError('x is undefined'), { stderr: (part) => (text += part) })
    assert.equal(code, 1)
    assert.match(text, /TypeError: x is undefined\n\s+at /)
    assert.match(text, /\nerror: internal error: x is undefined\nhint: .*report/)
  })

  it('for programs it is one object on stdout as well', () => {
    let [out, text] = ['', '']
    const code = printFatal(new MeshError('portInUse', { port: 80 }), {
      json: true,
      stdout: (part) => (out += part),
      stderr: (part) => (text += part),
    })
    const hint = 'choose another with --port, or stop the program that holds it'
    assert.deepEqual(JSON.parse(out), {
      error: { code: 'portInUse', message: 'port 80 is in use', hint, fields: { port: 80 } },
    })
    assert.deepEqual([code, text], [3, `error: port 80 is in use\nhint: ${hint}\n`])
  })

  it('a wrong command line may ask for that too', () => {
    assert.ok(jsonWanted(['stats', '--json']) && !jsonWanted(['status']) && !jsonWanted(['inference', '--', '--json']))
  })
})
