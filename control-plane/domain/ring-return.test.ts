/** When who was left out is tried again, and what counts until then. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { SaidBy } from './epoch-watch.ts'
import { defaultHealth, RingHealth } from './ring-health.ts'
import { a, b, c, all, failed, health, loads, out, outs, ready, report, settings, use } from './test/health-stage.ts'

describe('ring health: coming back', () => {
  it('pauses double up to the longest, shorter or longer by a tenth', () => {
    const pauses = Array.from({ length: 6 }, (_, time) => {
      health.heard('b', failed('diskFull'), [a, b, c], time)
      const pause = (out()?.until ?? 0) - time
      health.begin([a, b, c], time)
      return pause
    })
    assert.deepEqual(pauses, [100, 200, 400, 800, 1000, 1000])
    for (const [random, pause] of [
      [0, 90],
      [1, 110],
    ] as const) {
      use(new RingHealth({ ...settings, random: () => random }))
      health.heard('b', failed('diskFull'), [a, b, c], 0)
      assert.equal(out()?.until, pause)
    }
    assert.ok(defaultHealth.random() < 1)
  })

  it('the first pause comes back when it was well for long', () => {
    health.heard('b', failed('diskFull'), [a, b, c], 0)
    health.begin([a, b, c], 200)
    health.look([a, b, c], all(a, b, c), true, 300)
    assert.equal(health.next([a, b, c], all(a, b, c), 300), 5300)
    health.look([a, b, c], all(a, b, c), true, 5299)
    health.heard('b', failed('backendFailed'), [a, b, c], 5299) // one strike is enough before
    assert.equal(out()?.until, 5499)
    health.begin([a, b, c], 6000)
    health.look([a, b, c], all(a, b, c), true, 6000)
    health.look([a, b, c], all(a, b, c), false, 8000) // not active: it begins anew
    health.look([a, b, c], all(a, b, c), true, 9000)
    health.look([a, b, c], all(a, b, c), true, 13_999)
    health.heard('b', failed('diskFull'), [a, b, c], 13_999)
    assert.equal(out()?.until, 14_399)
    health.begin([a, b, c], 20_000)
    health.look([a, b, c], all(a, b, c), true, 20_000)
    health.look([a, b, c], all(a, b, c), true, 25_000)
    health.heard('b', failed('diskFull'), [a, b, c], 25_001)
    assert.equal(out()?.until, 25_101)
  })

  it('a member that is no part of the active epoch does not get well by that', () => {
    health.heard('b', failed('backendFailed'), [a, b, c], 0)
    health.begin([a], 0)
    for (const now of [0, 9000]) health.look([a], all(a), true, now)
    health.heard('b', failed('backendFailed'), [a, b, c], 9001)
    assert.deepEqual(outs(), ['b'])
  })

  it('who is back begins again', () => {
    const said: SaidBy = new Map([
      ['a', ready],
      ['b', loads(5)],
      ['c', ready],
    ])
    health.greeted('b', 900)
    health.look([a, b, c], said, false, 1000)
    assert.deepEqual(outs(), [])
  })

  it('a trial that is ready ends it, one that fails makes the pause longer and spoils nothing', () => {
    health.heard('b', failed('diskFull'), [a, b, c], 0)
    health.try(b, 9, 100)
    assert.deepEqual(out()?.trial, { state: 'waiting', progress: 0 })
    health.tried('b', 8, ready, 101)
    health.tried('a', 9, ready, 101)
    assert.deepEqual(outs(), ['b'])
    health.tried('b', 9, loads(1), 102)
    assert.deepEqual(out()?.trial, loads(1))
    assert.equal(health.next([a], all(a), 102), 1102)
    health.tried('b', 9, failed('modelMismatch'), 103)
    assert.deepEqual(out(), { since: 103, until: 303, error: report('modelMismatch') })
    health.ask('b', 104)
    assert.equal(out()?.until, 104, 'a trial costs nobody anything')
    health.try(b, 9, 104)
    health.tried('b', 9, ready, 105)
    assert.deepEqual(outs(), [])
    assert.equal(health.next([a], all(a), 105), undefined)
    health.untry('b')
    assert.deepEqual(outs(), ['b'])
    health.try(b, 9, 106)
    health.tried('b', 9, ready, 107)
    health.begin([a, b, c], 108)
    assert.deepEqual(outs(), [])
    health.heard('b', failed('backendFailed'), [a, b, c], 109)
    assert.equal(out()?.until, 509)
  })

  it('a trial that fails without a word, or stands still', () => {
    health.heard('b', failed('diskFull'), [a, b, c], 0)
    health.try(b, 9, 0)
    health.tried('b', 9, { state: 'failed', progress: 0 }, 1)
    assert.match(out()?.error?.message ?? '', /does not say why/)
    health.try(b, 9, 500)
    health.look([a], all(a), true, 1499)
    assert.ok(out()?.trial)
    health.look([a], all(a), true, 1500)
    assert.deepEqual(
      [out()?.trial, out()?.error?.message, out()?.until],
      [undefined, 'B did not say that it loads for 1 s', 1900],
    )
  })

  it('a trial of one that is not left out is none', () => {
    health.try(b, 9, 0)
    health.tried('b', 9, failed('diskFull'), 1)
    assert.deepEqual(outs(), [])
  })

  it('who asks is tried at once; who spoiled epochs has to wait for half of its pause', () => {
    health.ask('b', 0)
    health.heard('b', failed('diskFull'), [a, b, c], 0)
    health.ask('b', 10)
    assert.equal(out()?.until, 10)
    health.begin([a, b, c], 10)
    health.heard('b', failed('diskFull'), [a, b, c], 20)
    assert.equal(out()?.until, 220)
    health.ask('b', 30)
    assert.equal(out()?.until, 120)
    health.ask('b', 150)
    assert.equal(out()?.until, 120, 'never later')
  })

  it('asking makes up for nothing', () => {
    health.heard('b', failed('backendFailed'), [a, b, c], 1)
    health.ask('b', 2)
    health.heard('b', failed('backendFailed'), [a, b, c], 3)
    assert.deepEqual(outs(), ['b'])
  })

  it('the nearest time is the one to look at', () => {
    health.heard('b', failed('diskFull'), [a, b, c], 0)
    health.begin([a, c], 0)
    const said: SaidBy = new Map([
      ['a', { state: 'waiting', progress: 0 }],
      ['c', ready],
    ])
    assert.equal(health.next([a, c], said, 0), 100)
    assert.equal(health.next([a, c], said, 99), 100)
    assert.equal(health.next([a, c], said, 100), 1000)
  })

  it('what was is forgotten with who serves no more, an hour later where it was left out', () => {
    health.heard('b', failed('diskFull'), [a, b, c], 0)
    health.heard('c', failed('backendFailed'), [a, b, c], 0)
    health.jobEnded([a, b, c], report('rankFailed', { rank: 1 }), 0)
    health.keep(new Set(['a']), 10)
    assert.deepEqual(outs(), ['b'])
    assert.equal(health.next([a], all(a), 10), undefined)
    health.heard('c', failed('backendFailed'), [a, b, c], 11)
    assert.deepEqual(outs(), ['b'], 'one strike was forgotten')
    health.keep(new Set(['a']), 1009)
    assert.deepEqual(outs(), ['b'])
    health.keep(new Set(['a', 'b']), 1010)
    assert.equal(health.next([a], all(a), 50), 100, 'it is back, and its pause is the same')
    health.keep(new Set(['a']), 2000)
    health.keep(new Set(['a']), 2999)
    assert.deepEqual(outs(), ['b'])
    health.keep(new Set(['a']), 3000)
    assert.deepEqual(outs(), [])
    for (let time = 1; time < 3; time++) health.jobEnded([a, c], report('rankFailed', { rank: 1 }), time)
    assert.equal(out('a'), undefined)
  })

  it('of those that left so many are remembered, the newest', () => {
    const names = Array.from({ length: 70 }, (_, index) => `d${index}`)
    for (const name of names) health.accuse(name, report('diskFull'), 0)
    health.keep(new Set(), 1)
    assert.deepEqual(
      names.filter((name) => out(name)),
      names.slice(6),
    )
  })

  it('who is tried first and works has no strikes by that, and who was left out stays so', () => {
    health.doubt('b', 5)
    health.try(b, 1, 6)
    health.tried('b', 1, ready, 7)
    health.begin([a, b, c], 8)
    health.heard('b', failed('backendFailed'), [a, b, c], 9)
    assert.deepEqual(outs(), [])
    health.heard('c', failed('diskFull'), [a, b, c], 9)
    health.doubt('c', 10)
    assert.deepEqual(out('c'), { since: 9, until: 109, error: report('diskFull') })
  })
})
