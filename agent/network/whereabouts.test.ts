import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Whereabouts } from './whereabouts.ts'

const named = (letter: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${letter}${index}`)

test('whereabouts: the newest first, of both kinds in turn', () => {
  const where = new Whereabouts()
  assert.ok(where.isEmpty)
  for (const address of ['c0', 'c1', 'c2']) where.add(address, 'cache')
  for (const address of ['m0', 'm1']) where.add(address, 'mdns')
  assert.deepEqual(where.inTurn(), ['m1', 'c2', 'm0', 'c1', 'c0'])
  where.add('c0', 'control-plane')
  assert.deepEqual(where.inTurn(), ['c0', 'm1', 'c2', 'm0', 'c1'])
  assert.equal(where.foundBy('c0'), 'cache')
  assert.deepEqual([where.has('m1'), where.has('x'), where.isEmpty], [true, false, false])
  const announced = new Whereabouts()
  announced.add('m', 'mdns')
  announced.add('n', 'cache')
  assert.equal(announced.isEmpty, false)
})

test('whereabouts: announcements without end leave what is known where it is', () => {
  const where = new Whereabouts()
  for (const address of named('c', 16)) where.add(address, 'cache')
  for (const address of named('m', 1000)) where.add(address, 'mdns')
  assert.deepEqual(where.told, named('c', 16))
  assert.deepEqual(
    where.inTurn().filter((address) => address.startsWith('m')),
    named('m', 1000).slice(-8).toReversed(),
  )
  for (const address of named('d', 3)) where.add(address, 'control-plane')
  assert.deepEqual(where.told, [...named('c', 16).slice(3), ...named('d', 3)])
})

test('whereabouts: an announced address that is known or that worked is as good as told', () => {
  const where = new Whereabouts()
  where.add('a', 'mdns')
  where.add('b', 'mdns')
  where.worked('a')
  where.worked('nowhere')
  where.add('b', 'cache')
  assert.deepEqual([where.told, where.foundBy('a'), where.foundBy('b')], [['a', 'b'], 'mdns', 'mdns'])
  where.add('a', 'mdns') // again, as every few seconds
  for (const address of named('m', 20)) where.add(address, 'mdns')
  assert.deepEqual(where.told, ['b', 'a'])
  assert.equal(where.inTurn().length, 2 + 8)
  where.add('a', 'mdns')
  assert.equal(where.inTurn()[0], 'a')
})
