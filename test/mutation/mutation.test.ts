import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { findStale, isEnough, render } from './main.ts'
import { drawChanges, findChanges, type Change } from './changes.ts'
import { copyTree, measure } from './measure.ts'

const toy = `import type { A } from './a.ts'
/** Not here: 1 < 2 && true */
export type Two = 1 | 2
export const isOld = (years: number): boolean => years >= 18
export const larger = (a: number, b: number): number => (a > b ? a : b)
export const sumTo = (n: number): number => {
  if (n < 0) throw new Error('less < 0')
  let sum = 0
  for (let i = 0; i < n; i += 1) sum += i
  return sum
}
`
const toyTest = `import assert from 'node:assert/strict'
import { isOld, larger, sumTo } from './toy.ts'
assert.deepEqual([isOld(17), isOld(18)], [false, true])
assert.deepEqual([larger(1, 2), larger(3, 2)], [2, 3])
assert.deepEqual([sumTo(0), sumTo(4)], [0, 6])
assert.throws(() => sumTo(-1))
`

const openToy = (t: TestContext, source = toy, tests = toyTest): { root: string; changes: readonly Change[] } => {
  const root = mkdtempSync(join(tmpdir(), 'mesh-toy-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  writeFileSync(join(root, 'toy.ts'), source)
  writeFileSync(join(root, 'toy.test.ts'), tests)
  return { root, changes: findChanges(root, [join(root, 'toy.ts')]).get(join(root, 'toy.ts'))! }
}

const module = { source: 'toy.ts', tests: [['toy.test.ts']] }

test('mutation: operators are changed one at a time; types, comments, texts and imports are not', (t) => {
  const { changes } = openToy(t)
  assert.deepEqual(
    changes.map(({ line, to }) => [line, to]),
    [
      [4, 'export const isOld = (years: number): boolean => years > 18'],
      [5, 'export const larger = (a: number, b: number): number => (a >= b ? a : b)'],
      [7, "if (n <= 0) throw new Error('less < 0')"],
      [7, 'if (n < 0) ;'],
      [9, 'for (let i = 0; i <= n; i += 1) sum += i'],
      [9, 'for (let i = 0; i < n; i -= 1) sum += i'],
      [9, 'for (let i = 0; i < n; i += 1) sum -= i'],
    ],
  )
})

test('mutation: what would be no JavaScript is not tried', (t) => {
  const { changes } = openToy(
    t,
    'export const f = (a?: number, b?: number) => a ?? b ?? (a! < 1 || !b)\nf.toString()\n',
  )
  assert.deepEqual(
    changes.map(({ to }) => to.split(' ?? ').at(-1)),
    ['(a! < 1 && !b)', '(a! <= 1 || !b)', '(a! < 1 || b)'],
  )
})

test('mutation: names the change that no test saw, not those that one did, and one that hangs is seen', async (t) => {
  const { root, changes } = openToy(t)
  const copy = copyTree(root, ['toy.ts', 'toy.test.ts'])
  t.after(() => copy.remove())
  const outcome = await measure(copy, module, changes, { leastLimitMs: 1000 })
  assert.equal(
    render(outcome),
    [
      '   6/7  toy.ts',
      '  survives toy.ts:5',
      '    - export const larger = (a: number, b: number): number => (a > b ? a : b)',
      '    + export const larger = (a: number, b: number): number => (a >= b ? a : b)',
    ].join('\n'),
  )
  assert.ok(isEnough(outcome, 85))
  assert.ok(!isEnough(outcome, 86))
  assert.equal(readFileSync(join(root, 'toy.ts'), 'utf8'), toy, 'the tree is as it was')
  assert.equal(readFileSync(join(copy.root, 'toy.ts'), 'utf8'), toy, 'the copy too, for the next module')
})

test('mutation: what means the same does not count, and an entry that names no change is told', async (t) => {
  const { root, changes } = openToy(t)
  const copy = copyTree(root, ['toy.ts', 'toy.test.ts'])
  t.after(() => copy.remove())
  const { from, to } = changes[1]
  const same = [{ file: 'toy.ts', from, to, reason: 'of two equal numbers either is the larger' }]
  const outcome = await measure(copy, module, changes.slice(0, 2), { same })
  assert.equal(render(outcome), '   1/1  toy.ts')
  assert.deepEqual(findStale(same, new Map([['toy.ts', changes]])), [])
  const old = [{ ...same[0], from: 'return a' }]
  assert.deepEqual(findStale(old, new Map([['toy.ts', changes]])), old)
})

test('mutation: tests that fail without a change, and a module without any, are errors', async (t) => {
  const { root, changes } = openToy(t, toy, 'process.exitCode = 1\n')
  const copy = copyTree(root, ['toy.ts', 'toy.test.ts'])
  t.after(() => copy.remove())
  await assert.rejects(measure(copy, module, changes), /fail without any change: toy\.test\.ts/)
  await assert.rejects(measure(copy, { source: 'toy.ts', tests: [] }, changes), /toy\.ts has no tests/)
})

test('mutation: the same seed draws the same changes, also where another line was added', (t) => {
  const { changes } = openToy(t)
  const texts = (drawn: readonly Change[]): string[] => drawn.map(({ to }) => to)
  const first = texts(drawChanges(changes, 3, '1'))
  assert.deepEqual(texts(drawChanges(changes, 3, '1')), first)
  const seeds = ['2', '3', '4', '5'].map((seed) => texts(drawChanges(changes, 3, seed)).join('\n'))
  assert.ok(seeds.some((drawn) => drawn !== first.join('\n')))
  const { changes: moved } = openToy(t, toy.replace('/** Not', '\n\n/** Not'))
  assert.deepEqual(texts(drawChanges(moved, 3, '1')), first)
})
