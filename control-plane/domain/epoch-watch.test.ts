import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EpochWatch, type Member, type Said, type SaidBy } from './epoch-watch.ts'

const settings = { silenceMs: 1000, longestLoadMs: 10_000 }
const members: readonly Member[] = ['a', 'b', 'c'].map((deviceId) => ({ deviceId, name: deviceId.toUpperCase() }))
const loads = (bytes: number): Said => ({
  state: 'loading',
  progress: 0,
  loading: { phase: 'quantising', bytes, totalBytes: 1000 },
})
const links = (...missing: number[]): Said => ({
  state: 'loading',
  progress: 1,
  loading: { phase: 'linking', bytes: 1, totalBytes: 1, missing },
})
const ready: Said = { state: 'ready', progress: 1 }
const silent: Said = { state: 'waiting', progress: 0 }
const said = (a: Said, b: Said, c: Said): SaidBy =>
  new Map([
    ['a', a],
    ['b', b],
    ['c', c],
  ])
const watch = (): EpochWatch => new EpochWatch(members, settings, 0)
const found = (of: EpochWatch, by: SaidBy, now: number): string[] =>
  of.stalls(members, by, now).map(({ error }) => error.message)

test('epoch watch: who says nothing stands still after the time, who is away or has loaded does not', () => {
  const by = said(silent, ready, links())
  assert.deepEqual(found(watch(), by, 999), [])
  assert.deepEqual(found(watch(), by, 1000), ['A did not say that it loads for 1 s'])
  assert.deepEqual(found(watch(), new Map([['b', silent]]), 1000), ['B did not say that it loads for 1 s'])
  assert.deepEqual(found(watch(), new Map(), 9999), [])
  assert.deepEqual(found(watch(), said({ state: 'failed', progress: 0 }, ready, ready), 9999), [])
})

test('epoch watch: who gets on has time again', () => {
  const of = watch()
  of.heard('a', loads(1), 900)
  assert.deepEqual(found(of, said(loads(1), silent, ready), 1500), ['B did not say that it loads for 1 s'])
  assert.equal(of.next(members, said(loads(1), ready, ready)), 1900)
  assert.deepEqual(found(of, said(loads(1), ready, ready), 1900), ['A did not get on with quantising for 1 s'])
  of.heard('a', loads(2), 1899)
  assert.deepEqual(found(of, said(loads(2), ready, ready), 2000), [])
  of.greeted('a', 2800)
  of.greeted('nobody', 2800)
  assert.deepEqual(found(of, said(loads(2), ready, ready), 3000), [])
})

test('epoch watch: who tells no bytes gets on by a thousandth of the whole', () => {
  const of = watch()
  of.heard('a', { state: 'loading', progress: 0.5 }, 500)
  of.heard('a', { state: 'loading', progress: 0.501 }, 900)
  assert.equal(of.next(members, said({ state: 'loading', progress: 0.501 }, ready, ready)), 1900)
  assert.deepEqual(found(of, said({ state: 'loading', progress: 0.501 }, ready, ready), 1900), [
    'A did not get on with loading for 1 s',
  ])
})

test('epoch watch: the last one may get on for the longest time, counted from when it is the last', () => {
  const of = watch()
  const look = (by: SaidBy, now: number): string[] => {
    of.heard('a', loads(now / 10), now)
    of.heard('b', loads(now / 10), now)
    return found(of, by, now)
  }
  assert.deepEqual(look(said(loads(0), loads(0), ready), 500), [])
  for (let now = 1000; now < 11_000; now += 500)
    assert.deepEqual(look(said(loads(0), links(), ready), now), [], String(now))
  assert.equal(of.next(members, said(loads(0), links(), ready)), 11_000)
  assert.deepEqual(look(said(loads(0), links(), ready), 11_000), ['A was not done with loading for 10 s'])
  // another one is last now: it has the whole time
  assert.deepEqual(look(said(ready, loads(0), ready), 11_400), [])
  assert.deepEqual(look(said(ready, ready, ready), 11_500), [])
  assert.equal(of.next(members, said(ready, ready, ready)), undefined)
})

test('epoch watch: a ring of one has nobody who waits', () => {
  const [one] = members
  const of = new EpochWatch([one], settings, 0)
  for (let now = 0; now < 20_000; now += 500) {
    of.heard('a', loads(now / 10), now)
    assert.deepEqual(of.stalls([one], new Map([['a', loads(0)]]), now), [])
  }
})

test('epoch watch: links may take twice the time from when all have loaded, and again with each that comes', () => {
  const of = watch()
  const by = said(links(1, 2), links(0), ready)
  assert.equal(of.missingLinks(members, said(links(1), loads(0), ready), 100), undefined)
  assert.equal(of.missingLinks(members, by, 5000), undefined)
  assert.equal(of.next(members, by), 7000)
  assert.equal(of.missingLinks(members, by, 6999), undefined)
  assert.equal(of.missingLinks(members, said(links(1), links(0), ready), 6999), undefined)
  assert.equal(of.missingLinks(members, said(links(1), links(0), ready), 8998), undefined)
  assert.deepEqual(of.missingLinks(members, said(links(1), links(0), ready), 8999)?.links, [
    { by: 'a', of: 'b' },
    { by: 'b', of: 'a' },
  ])
})

test('epoch watch: of links that nobody tells of, the last that waits is named', () => {
  const of = watch()
  const by = said(ready, links(), {
    state: 'loading',
    progress: 1,
    loading: { phase: 'linking', bytes: 1, totalBytes: 1 },
  })
  of.missingLinks(members, by, 0)
  const missing = of.missingLinks(members, by, 2000)
  assert.deepEqual(
    [missing?.links, missing?.last.deviceId, missing?.last.error.message],
    [[], 'c', 'C did not get on with linking for 2 s'],
  )
})

test('epoch watch: a rank that does not exist is no link, and a member that fails or goes stops the clock', () => {
  const of = watch()
  of.missingLinks(members, said(links(1, 9), links(0), ready), 0)
  assert.deepEqual(of.missingLinks(members, said(links(9, 1), ready, ready), 4000), undefined) // fewer: time again
  assert.deepEqual(of.missingLinks(members, said(links(9, 1), ready, ready), 6000)?.links, [{ by: 'a', of: 'b' }])
  assert.equal(
    of.missingLinks(
      members,
      new Map([
        ['a', links(1)],
        ['b', ready],
      ]),
      9000,
    ),
    undefined,
  )
  assert.equal(of.missingLinks(members, said(links(1), ready, ready), 9500), undefined)
  assert.equal(of.missingLinks(members, said(ready, ready, ready), 99_500), undefined)
})
