import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from './errors.ts'
import { printFatal } from './fatal.ts'

describe('fatal', () => {
  it('a MeshError is one line of what went wrong and one of what to do', () => {
    let text = ''
    const code = printFatal(new MeshError('noPool'), (part) => (text += part))
    assert.equal(text, 'error: this device is in no pool\nhint: mesh pool-create --name home; or mesh pool-join --invite ...\n')
    assert.equal(code, 3)
  })

  it('a defect shows its stack and ends with 1', () => {
    let text = ''
    const code = printFatal(new TypeError('x is undefined'), (part) => (text += part))
    assert.equal(code, 1)
    assert.match(text, /TypeError: x is undefined\n\s+at /)
    assert.match(text, /\nerror: internal error: x is undefined\nhint: .*report/)
  })
})
