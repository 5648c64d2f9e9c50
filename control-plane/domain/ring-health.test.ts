/** Who is left out of a ring, for what, and who is not. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Said, SaidBy } from './epoch-watch.ts'
import { RingHealth } from './ring-health.ts'
import { a, b, c, all, failed, health, loads, out, outs, ready, report, settings, use } from './test/health-stage.ts'

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
    use(new RingHealth(settings))
    for (let epoch = 1; epoch <= 3; epoch++) {
      health.jobEnded([a, b, c], report('peerLost', { rank: 1 }), epoch)
      health.heard('c', failed('peerLost', { rank: 1 }), [a, b, c], epoch)
      assert.equal(health.settle([a, b, c], [], epoch), false, 'counted by the job already')
      assert.deepEqual(outs(), epoch === 3 ? ['b'] : [])
      health.begin([a, b, c], epoch)
    }
    use(new RingHealth(settings))
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
    use(new RingHealth(settings))
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

  it('who is accused is left out at once, and a member nobody knows of is tried first', () => {
    health.accuse('c', report('peerInvalid'), 5)
    health.doubt('a', 6)
    assert.deepEqual(outs(), ['a', 'c'])
    assert.deepEqual(out('a'), { since: 6, until: 6 })
    assert.deepEqual(out('c')?.error, report('peerInvalid'))
  })

  it('who spoils what the others cannot do without it stays, until they can', () => {
    let enough = false
    use(new RingHealth(settings, (deviceId) => enough && deviceId === 'b'))
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
})
