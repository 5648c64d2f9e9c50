import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import type { Member, Said, SaidBy } from './epoch-watch.ts'
import { defaultHealth, type LeftOut, RingHealth } from './ring-health.ts'

const settings = {
  silenceMs: 1000,
  retryMs: 100,
  longestRetryMs: 1000,
  wellMs: 5000,
  longestLoadMs: 50_000,
  random: () => 0.5,
}
const [a, b, c]: readonly Member[] = ['a', 'b', 'c'].map((deviceId) => ({ deviceId, name: deviceId.toUpperCase() }))
const ready: Said = { state: 'ready', progress: 1 }
const report = (
  code: string,
  fields: Record<string, string | number> = {},
): { code: string; message: string; fields: Record<string, string | number> } => ({
  code,
  message: `${code} happened`,
  fields,
})
const failed = (code: string, fields?: Record<string, string | number>): Said => ({
  state: 'failed',
  progress: 0,
  error: report(code, fields),
})
const loads = (bytes: number): Said => ({
  state: 'loading',
  progress: 0,
  loading: { phase: 'quantising', bytes, totalBytes: 1000 },
})
const all = (...members: Member[]): SaidBy => new Map(members.map(({ deviceId }) => [deviceId, ready]))

let health = new RingHealth(settings)
beforeEach(() => {
  health = new RingHealth(settings)
  health.begin([a, b, c], 0)
})
const out = (deviceId = 'b'): LeftOut | undefined => health.leftOut(deviceId)
const outs = (): string[] => ['a', 'b', 'c'].filter((deviceId) => out(deviceId))

describe('ring health', () => {
  it('who fails by its own fault is left out at once, and no other', () => {
    health.heard('b', failed('diskFull'), [a, b, c], 7)
    assert.deepEqual(outs(), ['b'])
    assert.deepEqual(out(), { since: 7, until: 107, error: report('diskFull') })
  })

  it('a failure without a word has one of ours', () => {
    health.heard('b', { state: 'failed', progress: 0 }, [a, b, c], 7)
    assert.match(out()?.error?.message ?? '', /does not say why/)
  })

  it('a backend that fails is left out at the second time', () => {
    health.heard('b', failed('backendFailed'), [a, b, c], 1)
    assert.deepEqual(outs(), [])
    health.begin([a, b, c], 2)
    health.heard('b', failed('backendFailed'), [a, b, c], 3)
    assert.deepEqual(outs(), ['b'])
  })

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
      health = new RingHealth({ ...settings, random: () => random })
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

  it('who spoils jobs is left out at the second in a row, and well only when jobs are done with it', () => {
    const spoil = (now: number): void => health.jobEnded([a, b, c], report('rankFailed', { rank: 1 }), now)
    spoil(1)
    health.jobEnded([a, b, c], undefined, 2)
    spoil(3)
    assert.deepEqual(outs(), [])
    spoil(4)
    assert.deepEqual(outs(), ['b'])
    health.begin([a, b, c], 200)
    for (const now of [200, 9000]) health.look([a, b, c], all(a, b, c), true, now)
    spoil(9001)
    assert.equal(out()?.until, 9201)
    health.begin([a, b, c], 10_000)
    health.look([a, b, c], all(a, b, c), true, 10_000)
    health.jobEnded([a, b, c], undefined, 10_001)
    health.look([a, b, c], all(a, b, c), true, 15_000)
    spoil(15_001)
    assert.deepEqual(outs(), [])
  })

  it('rank 0 is to blame for what it names nobody for, and nobody for a wrong prompt', () => {
    for (let time = 0; time < 5; time++) health.jobEnded([a, b, c], report('promptTooLong'), time)
    assert.deepEqual(outs(), [])
    for (let time = 0; time < 2; time++) health.jobEnded([a, b, c], report('backendFailed'), time)
    assert.deepEqual(outs(), ['a'])
  })

  it('rank 0 that names one after another is left out itself', () => {
    for (let time = 0; time < 2; time++) health.jobEnded([a, b, c], report('rankFailed', { rank: 1 }), time)
    assert.deepEqual(outs(), ['b'])
    health.begin([a, b, c], 1000)
    for (let time = 1001; time < 1003; time++) health.jobEnded([a, b, c], report('rankFailed', { rank: 2 }), time)
    assert.deepEqual(outs(), ['a'])
    assert.match(out('a')?.error?.message ?? '', /^A has no link to B, C$/)
  })

  it('links that break are counted once an epoch, and the third time is one too many', () => {
    for (let epoch = 1; epoch <= 3; epoch++) {
      health.heard('a', failed('peerLost', { rank: 1 }), [a, b, c], epoch)
      health.heard('b', failed('peerLost', { rank: 0 }), [a, b, c], epoch)
      health.heard('c', failed('peerLost', { rank: 1 }), [a, b, c], epoch)
      assert.equal(health.settle([a, b, c], [], epoch), epoch === 3)
      if (epoch < 3) health.begin([a, b, c], epoch)
    }
    assert.deepEqual(outs(), ['b'])
    assert.equal(out()?.error?.message, 'B has no link to A, C')
  })

  it('a failure of links that names nobody, or itself, is its own', () => {
    health.heard('b', failed('peerLost', { rank: 1 }), [a, b, c], 1)
    health.heard('b', failed('peerLost'), [a, b, c], 2)
    assert.deepEqual(outs(), [])
    health.heard('b', failed('peerLost', { rank: 7 }), [a, b, c], 3)
    assert.deepEqual(outs(), ['b'])
  })

  it('links of a member that went away are its matter, and that of no other', () => {
    for (let epoch = 1; epoch <= 3; epoch++) {
      health.heard('a', failed('peerLost', { rank: 1 }), [a, b, c], epoch)
      health.heard('c', failed('peerLost', { rank: 1 }), [a, b, c], epoch)
      assert.equal(health.settle([a, b, c], [b], epoch), epoch === 3, `epoch ${epoch}`)
      health.begin([a, b, c], epoch)
    }
    health = new RingHealth(settings)
    for (let epoch = 1; epoch <= 3; epoch++) {
      health.jobEnded([a, b, c], report('peerLost', { rank: 1 }), epoch)
      health.heard('c', failed('peerLost', { rank: 1 }), [a, b, c], epoch)
      assert.equal(health.settle([a, b, c], [], epoch), false, 'counted by the job already')
      assert.deepEqual(outs(), epoch === 3 ? ['b'] : [])
      health.begin([a, b, c], epoch)
    }
    health = new RingHealth(settings)
    for (let epoch = 1; epoch <= 3; epoch++) {
      health.went(b, true, epoch)
      const left = health.settle([a, b, c], [], epoch)
      assert.equal(left, epoch === 3)
    }
    assert.match(out()?.error?.message ?? '', /^B came and went/)
  })

  it('a job that lost a member and the end of the epoch are one strike', () => {
    for (let epoch = 1; epoch <= 2; epoch++) {
      health.jobEnded([a, b, c], report('peerLost', { rank: 1 }), epoch)
      health.heard('c', failed('peerLost', { rank: 1 }), [a, b, c], epoch)
      assert.equal(health.settle([a, b, c], [b], epoch), false)
      health.begin([a, b, c], epoch)
    }
    health.jobEnded([a, b, c], report('peerLost', { rank: 1 }), 3)
    assert.deepEqual(outs(), ['b'])
  })

  it('who only lets go of the control plane may do so a dozen times', () => {
    for (let time = 1; time < 12; time++) health.went(b, false, time)
    assert.deepEqual(outs(), [])
    health.went(b, false, 12)
    assert.deepEqual(outs(), ['b'])
  })

  it('who stands still is left out, and then nobody else of that epoch', () => {
    const said: SaidBy = new Map([
      ['a', ready],
      ['b', { state: 'waiting', progress: 0 }],
      ['c', loads(1)],
    ])
    health.heard('c', loads(1), [a, b, c], 500)
    assert.equal(health.next([a, b, c], said, 500), 1000)
    health.look([a, b, c], said, false, 1000)
    assert.deepEqual(outs(), ['b'])
    assert.equal(health.next([a, b, c], said, 1000), 1100)
    health.look([a, b, c], said, false, 9000)
    assert.deepEqual(outs(), ['b'])
    assert.equal(health.next([a, b, c], said, 9000), undefined, 'what is due is no time to wait for')
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

  it('of links that lack, the worst linked is left out; where nobody tells, the last that waits', () => {
    const linking = (...missing: number[]): Said => ({
      state: 'loading',
      progress: 1,
      loading: { phase: 'linking', bytes: 1, totalBytes: 1, missing },
    })
    const said: SaidBy = new Map([
      ['a', linking(1)],
      ['b', linking(0, 2)],
      ['c', linking(1)],
    ])
    for (const now of [0, 1999]) health.look([a, b, c], said, false, now)
    assert.deepEqual(outs(), [])
    health.look([a, b, c], said, false, 2000)
    assert.deepEqual(outs(), ['b'])
    health = new RingHealth(settings)
    const quiet: SaidBy = new Map([
      ['a', ready],
      ['b', ready],
      ['c', linking()],
    ])
    for (const now of [0, 2000]) health.look([a, b, c], quiet, false, now)
    assert.deepEqual(outs(), ['c'])
  })

  it('pairs that fell out long ago are forgotten', () => {
    health.jobEnded([a, b, c], report('rankFailed', { rank: 1 }), 0)
    health.look([a, b, c], all(a, b, c), true, 1000)
    health.jobEnded([a, b, c], report('rankFailed', { rank: 2 }), 1001)
    health.jobEnded([a, b, c], report('rankFailed', { rank: 2 }), 1002)
    assert.deepEqual(outs(), ['c'])
  })

  it('pairs that fell out lately are not', () => {
    health.jobEnded([a, b, c], report('rankFailed', { rank: 1 }), 5000)
    health.look([a, b, c], all(a, b, c), true, 5999)
    health.jobEnded([a, b, c], report('rankFailed', { rank: 2 }), 6000)
    health.jobEnded([a, b, c], report('rankFailed', { rank: 2 }), 6001)
    assert.deepEqual(outs(), ['a'])
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

  it('who is accused is left out at once, and a member nobody knows of is tried first', () => {
    health.accuse('c', report('peerInvalid'), 5)
    health.doubt('a', 6)
    assert.deepEqual(outs(), ['a', 'c'])
    assert.deepEqual(out('a'), { since: 6, until: 6 })
    assert.deepEqual(out('c')?.error, report('peerInvalid'))
  })

  it('who spoils what the others cannot do without it stays, until they can', () => {
    let enough = false
    health = new RingHealth(settings, (deviceId) => enough && deviceId === 'b')
    health.begin([a, b, c], 0)
    for (let time = 0; time < 9; time++) health.jobEnded([a, b, c], report('rankFailed', { rank: 1 }), time)
    for (let time = 0; time < 9; time++) health.settle([a, b, c], [b], time)
    for (let time = 0; time < 20; time++) health.went(b, false, time)
    health.jobEnded([a, b, c], report('jobStalled'), 20)
    assert.deepEqual(outs(), [])
    enough = true
    health.jobEnded([a, b, c], report('rankFailed', { rank: 1 }), 9)
    assert.deepEqual(outs(), ['b'])
    health.heard('c', failed('diskFull'), [a, b, c], 10)
    assert.deepEqual(outs(), ['b', 'c'], 'who cannot load is no help')
  })

  it('of several that are away and that broke links, each is judged by its own', () => {
    for (let epoch = 1; epoch <= 3; epoch++) {
      health.heard('a', failed('peerLost', { rank: 2 }), [a, b, c], epoch)
      health.heard('c', failed('peerLost', { rank: 0 }), [a, b, c], epoch)
      health.settle([a, b, c], [b], epoch)
      if (epoch < 3) health.begin([a, b, c], epoch)
    }
    assert.deepEqual(outs(), ['b', 'c'])
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
