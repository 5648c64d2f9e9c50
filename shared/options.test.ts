import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from './errors.ts'
import {
  colourWanted,
  environmentFor,
  homeFromEnvironment,
  type OptionName,
  optionRecord,
  optionTable,
  readOptions,
} from './options.ts'

const usage =
  (problem: RegExp) =>
  (error: unknown): boolean =>
    error instanceof MeshError && error.code === 'usage' && problem.test(error.message)
const names = Object.keys(optionTable) as OptionName[]

describe('options', () => {
  it('the table: flags and variables are unique and well formed', () => {
    const flags = names.map((name) => optionRecord(name).flag)
    assert.equal(new Set(flags).size, flags.length)
    for (const flag of flags) assert.match(flag, /^--[a-z]+(-[a-z]+)*$/)
    const variables = names.map((name) => optionRecord(name).env).filter((variable) => variable !== undefined)
    assert.equal(new Set(variables).size, variables.length)
    // those that are shared with other programs have their names
    for (const variable of variables)
      assert.match(variable, /^(MESHNET_[A-Z_]+|MESH_API_KEY(_FILE)?|HF_(ENDPOINT|TOKEN))$/)
  })

  it('the table: a switch has no value, everything else shows one', () => {
    for (const name of names)
      assert.equal(optionRecord(name).value === undefined, optionRecord(name).type === 'switch', name)
  })

  it('the table: every default is accepted by its own option', () => {
    assert.doesNotThrow(() => readOptions(names, {}, {}))
  })

  it('a flag goes before the environment, that before the default of the program, that before the table', () => {
    const env = { MESHNET_PORT: '2000' }
    assert.equal(readOptions(['port'], { port: '1000' }, env, { port: '3000' }).port, 1000)
    assert.equal(readOptions(['port'], {}, env, { port: '3000' }).port, 2000)
    assert.equal(readOptions(['port'], {}, {}, { port: '3000' }).port, 3000)
    assert.equal(readOptions(['port'], {}, {}).port, undefined)
    assert.equal(readOptions(['port'], {}, { MESHNET_PORT: '' }).port, undefined)
  })

  it('values have the type of their option', () => {
    const values = readOptions(
      ['wait', 'share', 'maxTokens', 'json', 'stop', 'quant'],
      { wait: '2m', share: '0.5', maxTokens: '7', json: true, stop: ['a', 'b'] },
      {},
    )
    assert.deepEqual(values, { wait: 120_000, share: 0.5, maxTokens: 7, json: true, stop: ['a', 'b'], quant: 'q8' })
  })

  it('a list from the environment is split at commas, one from flags keeps spaces and line ends', () => {
    assert.deepEqual(readOptions(['relay'], {}, { MESHNET_RELAY: '/ip4/1.1.1.1/tcp/1, /ip4/2.2.2.2/tcp/2' }).relay, [
      '/ip4/1.1.1.1/tcp/1',
      '/ip4/2.2.2.2/tcp/2',
    ])
    assert.deepEqual(readOptions(['stop'], { stop: ['\n', ' The'] }, {}).stop, ['\n', ' The'])
    assert.deepEqual(readOptions(['stop'], {}, {}).stop, [])
  })

  it('a switch that is not given is off', () => {
    assert.equal(readOptions(['keep'], {}, {}).keep, false)
  })

  for (const [name, text, problem] of [
    ['port', 'x', /--port wants a whole number from 0 to 65535, got "x"/],
    ['port', '70000', /from 0 to 65535, got "70000"/],
    ['port', '1.5', /a whole number/],
    ['port', ' ', /a whole number/],
    ['temperature', '-1', /--temperature wants a number from 0 to 10/],
    ['temperature', 'NaN', /a number/],
    ['temperature', 'Infinity', /a number/],
    ['seed', '4294967296', /from 0 to 4294967295/],
    ['wait', 'soon', /--wait: "soon" is not a duration/],
    ['expires', '5ms', /--expires wants a duration from 1 s to 366 d, got "5ms"/],
    ['memory', '5kB', /--memory wants a size from 1 MB to 1\.13 PB, got "5kB"/],
    ['settleAfter', '-1', /--settle-after: "-1" is not a duration/],
    ['quant', 'q3', /--quant wants one of f32, q8, q4, file, got "q3"/],
    ['logLevel', 'loud', /--log-level wants one of silent/],
  ] as const) {
    it(`a bad value is refused with the flag and what it wants: ${name}=${JSON.stringify(text)}`, () => {
      assert.throws(() => readOptions([name], { [name]: text }, {}), usage(problem))
    })
  }

  it('a bad value in the environment is refused as well', () => {
    assert.throws(
      () => readOptions(['quant', 'threads'], {}, { MESHNET_THREADS: 'many' }),
      usage(/--threads wants a whole number/),
    )
  })

  it('the home folder and colour come from the environment', () => {
    assert.equal(homeFromEnvironment({ MESHNET_HOME: '/x' }), '/x')
    assert.equal(homeFromEnvironment({ MESHNET_HOME: '' }), undefined)
    assert.equal(colourWanted({}), true)
    assert.equal(colourWanted({ NO_COLOR: '1' }), false)
    assert.equal(colourWanted({ TERM: 'dumb' }), false)
  })

  it('the environment for another home carries nothing of ours but the rest', () => {
    assert.deepEqual(
      environmentFor('/other', { PATH: '/bin', MESHNET_HOME: '/mine', MESHNET_POOL: 'ab', MESH_API_KEY: 'secret' }),
      { PATH: '/bin', MESHNET_HOME: '/other' },
    )
  })
})
