import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from './errors.ts'
import { isModelId, newJobId, newRingId, parseDeviceId, parsePoolId, selectByDigits, shortId } from './ids.ts'

const good = 'ab'.repeat(32)

describe('ids', () => {
  it('64 lower-case hex digits are a device id and a pool id', () => {
    assert.equal(parseDeviceId(good), good)
    assert.equal(parsePoolId(good), good)
    assert.equal(shortId(good), 'abababab')
  })

  for (const text of [
    '',
    'ab',
    good.toUpperCase(),
    `${good}a`,
    `${good}\n`,
    `zz${good.slice(2)}`,
    '../'.repeat(21) + 'x',
  ]) {
    it(`not an id: ${JSON.stringify(text.slice(0, 20))} of ${text.length} characters`, () => {
      assert.throws(
        () => parsePoolId(text),
        (error: unknown) => error instanceof MeshError && error.code === 'usage',
      )
      assert.throws(
        () => parseDeviceId(text),
        (error: unknown) => error instanceof MeshError && error.code === 'usage',
      )
    })
  }

  it('a refused id is shown in part only', () => {
    assert.throws(
      () => parseDeviceId('x'.repeat(100_000)),
      (error: unknown) => (error as Error).message.length < 200,
    )
  })

  it('the first digits mean one thing, none, or too many', () => {
    const by = { flag: '--device', noun: 'device', list: 'mesh pool-peers' } as const
    const all = ['ab', 'cd'].map((end) => `0123456789${end}`)
    const found = (text: string): string | undefined => selectByDigits(all, String, text, by)
    assert.deepEqual([found('0123456789A'), found('0123456789cd'), found('99999999')], [all[0], all[1], undefined])
    assert.throws(() => found('01234567'), { message: '--device 01234567 means 2 devices; give more digits' })
    assert.throws(() => found('0123456'), {
      message: '--device wants at least 8 hex digits of a device id (mesh pool-peers shows it), got "0123456"',
    })
  })

  it('a model id is a name, an owner and a name, or one with a tag', () => {
    for (const text of [
      'llama',
      'Llama-3.2-1B',
      'meta-llama/Llama-3.2-1B',
      'llama3:8b',
      'owner/name:Q4_K_M',
      'hf.co/owner/name:q4',
      'a',
      'x'.repeat(256),
    ])
      assert.ok(isModelId(text), text)
  })

  it('a model id never leads out of the folder it is looked for in', () => {
    const bad = [
      '',
      '.',
      '..',
      '../x',
      'a/..',
      'a/../b',
      '/etc',
      'a//b',
      'a/',
      'a/b/',
      '.a',
      'a/.b',
      '-a',
      ':a',
      'a:',
      'a:b:c',
      'a:b/c',
      'a b',
      'a\\b',
      'a\n',
      'a\0b',
      'ä',
      'a/b/c/d',
      '~/x',
      'C:\\x',
      'a:../b',
      'x'.repeat(257),
    ]
    for (const text of bad) assert.ok(!isModelId(text), JSON.stringify(text))
  })

  it('ring and job ids say what they are and differ', () => {
    assert.match(newRingId(), /^ring_[0-9a-f]{16}$/)
    assert.match(newJobId(), /^job_[0-9a-f]{16}$/)
    assert.notEqual(newJobId(), newJobId())
  })
})
