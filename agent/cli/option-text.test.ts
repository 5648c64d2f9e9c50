/** How options are told: from their records, with what a command makes of them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OptionName } from '../../shared/options.ts'
import { argumentsOf, defaultText, describeOption, flagText } from './option-text.ts'

const plain = { defaults: {}, required: [] as OptionName[] }

test('option text: a flag with its value, behind its letter where it has one', () => {
  assert.equal(flagText('json'), '--json')
  assert.equal(flagText('quant'), '--quant <kind>')
  assert.equal(flagText('follow'), '-f, --follow')
  assert.equal(flagText('lines'), '-n, --lines <n>')
})

test('option text: given options as arguments: a switch alone, each of a list, others with their value', () => {
  const values = { json: true, stop: ['a b', 'c'], seed: 7, maxTokens: 5 }
  const given = new Set<string>(['json', 'stop', 'seed'])
  const context = { isGiven: (name: OptionName) => given.has(name) }
  assert.deepEqual(argumentsOf(context, ['json', 'stop', 'seed', 'maxTokens'], values), [
    '--json',
    '--stop=a b',
    '--stop=c',
    '--seed=7',
  ])
  assert.deepEqual(argumentsOf({ isGiven: () => false }, ['json', 'stop', 'seed'], values), [])
})

test('option text: the default of the command comes before that of the table, in quotes where it has spaces', () => {
  assert.equal(defaultText('quant'), 'q8')
  assert.equal(defaultText('quant', { defaults: { quant: 'q4' } }), 'q4')
  assert.equal(defaultText('quant', plain), 'q8')
  assert.equal(defaultText('prompt', { defaults: { prompt: 'Once upon a time' } }), '"Once upon a time"')
  assert.equal(defaultText('maxTokens', { defaults: { maxTokens: 120 } }), '120')
  assert.equal(defaultText('stop'), undefined)
})

test('option text: notes on what is required, the choices, the default and the variable', () => {
  assert.match(describeOption('quant', plain), / \(f32, q8, q4, file; default: q8(; env: [A-Z_]+)?\)$/)
  assert.match(describeOption('quant', { defaults: { quant: 'q4' }, required: [] }), /; default: q4/)
  assert.match(describeOption('threads', plain), / \(([^;()]+; )*env: MESHNET_THREADS\)$/)
  assert.match(describeOption('stop', { defaults: {}, required: ['stop'] }), / \(may be repeated\) \(required\)$/)
  assert.match(describeOption('stop', plain), /[^)] \(may be repeated\)$/)
})

test('option text: what the table says of a default goes where the command has its own', () => {
  assert.match(describeOption('seed', plain), / \(default: random\)$/)
  const own = describeOption('seed', { defaults: { seed: 1 }, required: [] })
  assert.match(own, / \(default: 1\)$/)
  assert.doesNotMatch(own, /random/)
})
