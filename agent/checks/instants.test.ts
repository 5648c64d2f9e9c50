import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Instants, spanTokens, windowTokens } from './instants.ts'

/** mulberry32: uniform in 0..1. */
const seeded = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}

/** Tokens at which a rank is checked, of so many. */
const instantsIn = (tokens: number, random: () => number): number[] => {
  const instants = new Instants(random)
  const found: number[] = []
  for (let token = 1; token <= tokens; token++) {
    instants.pass(1)
    if (!instants.isDue) continue
    instants.done()
    found.push(token)
  }
  return found
}

test('instants: of all spans of 200 tokens in a row, less than one in a hundred holds none', () => {
  const tokens = 1_000_000
  const found = instantsIn(tokens, seeded(5))
  const gaps = found.map((token, index) => token - (found[index - 1] ?? 0))
  const empty = gaps.reduce((sum, gap) => sum + Math.max(0, gap - spanTokens), 0)
  assert.ok(empty / tokens < 0.003, `${empty / tokens}`)
  assert.ok(Math.abs((found.length * windowTokens) / tokens - 1) < 0.001, 'one in every window')
})

test('instants: from the first token on one comes within 200, in every one of 10,000 epochs', () => {
  for (let seed = 0; seed < 10_000; seed++) assert.ok(instantsIn(spanTokens, seeded(seed)).length > 0)
})

test('instants: every place of a window is as likely, so that no token is safe to lie in', () => {
  const counts = new Float64Array(10)
  for (const token of instantsIn(2_000_000, seeded(9)))
    counts[Math.floor(((token - 1) % windowTokens) / (windowTokens / 10))]++
  const each = counts.reduce((sum, count) => sum + count, 0) / counts.length
  for (const count of counts) assert.ok(Math.abs(count / each - 1) < 0.1, `${count} of ${each}`)
})

test('instants: a window that passed unused is not made up for, and what was wrong is looked at again at once', () => {
  const instants = new Instants(() => 0.5)
  instants.pass(windowTokens / 2 - 1)
  assert.equal(instants.isDue, false)
  instants.pass(1)
  assert.equal(instants.isDue, true)
  instants.pass(1000 - windowTokens / 2)
  instants.done()
  assert.equal(instants.isDue, false)
  instants.pass(windowTokens - 1)
  assert.equal(instants.isDue, true)
  instants.done()
  instants.soon(4)
  instants.pass(1)
  assert.equal(instants.isDue, false)
  instants.pass(1)
  assert.equal(instants.isDue, true)
  instants.notBefore(8)
  instants.pass(7)
  assert.equal(instants.isDue, false)
  instants.pass(1)
  assert.equal(instants.isDue, true)
})
