import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { deviceIdOf } from '../identity/device-key.ts'
import { newKeyPair } from '../identity/keys.ts'
import { issueCertificate, poolIdOf } from '../identity/pool-certificate.ts'
import type { JobSubmission } from '../schema/job.ts'
import { padded, sealedBytes, unpadded } from './padding.ts'
import { createAnswerOpener, createAnswerSealer } from './sealed-answer.ts'
import { newSealingPair, openJob, sealJob } from './sealed-job.ts'
import { signSealingKey, verifySealingKey } from './sealing-key.ts'

const poolId = 'a'.repeat(64)
const plain: JobSubmission = {
  modelId: 'tiny',
  prompt: 'a SECRET',
  special: true,
  maxTokens: 5,
  stop: ['STOP', '\n'],
  idempotencyKey: 'key-12345',
  sampling: { temperature: 0.7, topK: 3, topP: 0.9, minP: 0, repetitionPenalty: 1.1, seed: 2 ** 32 - 1 },
}

test('sealed job: rank 0 opens what was asked, nobody else reads or changes it', async () => {
  const pair = await newSealingPair()
  const { submission, answerSecret } = await sealJob(plain, { poolId, publicKey: pair.publicKey })
  const sent = JSON.parse(JSON.stringify(submission)) as JobSubmission
  assert.ok(
    !/SECRET|STOP/.test(JSON.stringify(sent)) && !Buffer.from(sent.sealed?.box ?? '', 'base64url').includes('SECRET'),
  )
  assert.deepEqual([sent.prompt, sent.messages, sent.special, sent.stop], [undefined, undefined, undefined, []])
  const opened = await openJob(pair, poolId, { ...sent, idempotencyKey: 'another-key' })
  assert.deepEqual(opened.submission, { ...plain, idempotencyKey: 'another-key' })
  assert.deepEqual(opened.answerSecret, answerSecret)
  const messages = await sealJob(
    { ...plain, prompt: undefined, messages: [{ role: 'user', content: 'x' }] },
    { poolId, publicKey: pair.publicKey },
  )
  assert.deepEqual((await openJob(pair, poolId, messages.submission)).submission.messages, [
    { role: 'user', content: 'x' },
  ])

  const { sealed } = sent
  assert.ok(sealed)
  const flip = (text: string): string => (text.startsWith('A') ? 'B' : 'A') + text.slice(1)
  const changes: Partial<JobSubmission>[] = [
    { maxTokens: 6 },
    { modelId: 'other' },
    ...Object.entries(plain.sampling).map(([name, value]) => ({
      sampling: { ...plain.sampling, [name]: value - 0.5 },
    })),
    { sealed: { ...sealed, box: flip(sealed.box) } },
    { sealed: { ...sealed, box: sealed.box.slice(0, -4) } },
    { sealed: { ...sealed, enc: flip(sealed.enc) } },
    { sealed: { ...sealed, box: 'AAAA' } },
  ]
  for (const change of changes)
    await assert.rejects(
      openJob(pair, poolId, { ...sent, ...change }),
      { code: 'sealBroken' },
      JSON.stringify(change).slice(0, 80),
    )
  await assert.rejects(openJob(pair, 'b'.repeat(64), sent), { code: 'sealBroken' })
  await assert.rejects(openJob(await newSealingPair(), poolId, sent), { code: 'sealStale' })
  await assert.rejects(openJob(pair, poolId, plain), { code: 'sealStale' })
  const odd = await sealJob({ ...plain, prompt: 5 as never }, { poolId, publicKey: pair.publicKey })
  await assert.rejects(openJob(pair, poolId, odd.submission), { code: 'sealBroken' }, 'what opens is no submission')
})

test('sealed job: lengths are told in steps', async () => {
  const pair = await newSealingPair()
  const lengthOf = async (prompt: string): Promise<number | undefined> =>
    (await sealJob({ ...plain, prompt }, { poolId, publicKey: pair.publicKey })).submission.sealed?.box.length
  assert.equal(await lengthOf('a'), await lengthOf('a'.repeat(150)))
  const sealer = createAnswerSealer(randomBytes(32))
  sealer.piece({ tokens: [1], text: '' })
  assert.equal(
    new Set(['a', ' the', ' wonderful', '😀'].map((text) => sealer.piece({ tokens: [100], text }).length)).size,
    1,
  )
  for (const text of ['', 'a', 'é'.repeat(300), '\u0000']) {
    assert.equal(unpadded(padded(text, 64)), text)
    assert.equal(padded(text, 64).length % 64, 0)
  }
  assert.equal(padded('x'.repeat(60), 64).length, 64)
  assert.equal(padded('x'.repeat(61), 64).length, 128)
  assert.equal(unpadded(Buffer.of(0, 0, 0)), undefined)
  assert.equal(unpadded(Buffer.of(0, 0, 0, 0)), '')
  assert.equal(unpadded(Buffer.of(0, 0, 0, 2, 97, 98)), 'ab')
  for (const length of [1, 2, 3, 256])
    assert.ok(
      [length, length + 1].includes(sealedBytes({ box: Buffer.alloc(length).toString('base64url') })),
      `${length} bytes`,
    )
  assert.deepEqual([sealedBytes({ box: 'AA' }), sealedBytes({ box: 'AAAA' })], [2, 3])
  assert.equal(unpadded(Buffer.of(0, 0, 0, 5, 1, 2)), undefined)
})

const answer = [
  { tokens: [5], text: 'Once' },
  { tokens: [6], text: '' },
  { tokens: [7], text: ' upon é' },
  { tokens: [], text: '!', end: { finishReason: 'stop', tokens: 3 } },
] as const

test('sealed answer: pieces open one by one, however the text is cut, and the last says so', () => {
  const secret = randomBytes(32)
  for (const size of [1, 7, 100, 1e6]) {
    const sealer = createAnswerSealer(secret)
    const text = answer.map((piece) => sealer.piece(piece)).join('')
    assert.ok(!text.includes('Once'))
    const opener = createAnswerOpener(secret)
    const got = Array.from({ length: Math.ceil(text.length / size) }, (_, index) =>
      opener.feed(text.slice(index * size, (index + 1) * size)),
    ).flat()
    assert.deepEqual(got, answer)
    assert.ok(opener.isComplete)
  }
})

test('sealed answer: lost, repeated, moved, changed, foreign and late pieces are noticed; a cut one is not complete', () => {
  const secret = randomBytes(32)
  const sealer = createAnswerSealer(secret)
  const pieces = answer.map((piece) => sealer.piece(piece))
  const [a, b, c, d] = pieces
  const other = createAnswerSealer(secret)
  const foreign = answer.map((piece) => other.piece(piece))
  const flipped = b.slice(0, 10) + (b[10] === 'A' ? 'B' : 'A') + b.slice(11)
  for (const [name, wrong] of Object.entries({
    lost: [a, c, d],
    lostFirst: [b, c, d],
    repeated: [a, b, b, c, d],
    moved: [a, c, b, d],
    changed: [a, flipped, c, d],
    otherRun: [a, foreign[1]],
    late: [a, b, c, d, d],
    empty: [a, '.', b],
    none: ['.'],
  })) {
    assert.throws(() => createAnswerOpener(secret).feed(wrong.join('')), { code: 'sealBroken' }, name)
  }
  assert.throws(() => createAnswerOpener(randomBytes(32)).feed(a), { code: 'sealBroken' })
  const cut = createAnswerOpener(secret)
  assert.equal(cut.feed(a + b + c).length, 3)
  assert.equal(cut.isComplete, false)
  assert.throws(() => createAnswerOpener(secret).feed('A'.repeat(17 * 2 ** 20)), { code: 'sealBroken' })
})

test('sealing key: signed by rank 0 of that epoch, a member by the root key that one knows; nothing else is believed', async () => {
  const [root, device, stranger] = [newKeyPair(), newKeyPair(), newKeyPair()]
  const now = Date.now()
  const { publicKey } = await newSealingPair()
  const epoch = { poolId: poolIdOf(root.publicKey), ringId: 'ring_1', epoch: 7 }
  const wanted = { ...epoch, leader: deviceIdOf(device) }
  const member = (key = device, by = root): string =>
    issueCertificate(by, { deviceId: deviceIdOf(key), role: 'member' }, now)
  const trust = { rootPublicKey: root.publicKey, now, removals: { has: () => false } }
  const sealing = { key: signSealingKey(device, epoch, publicKey), certificate: member() }
  assert.deepEqual(Buffer.from(verifySealingKey(sealing, wanted, trust)), Buffer.from(publicKey))

  const refuses = (
    what: string,
    change: Partial<typeof sealing>,
    problem: RegExp,
    { of = wanted, by = trust }: { of?: typeof wanted; by?: typeof trust } = {},
  ): void =>
    assert.throws(
      () => verifySealingKey({ ...sealing, ...change }, of, by),
      (error: { code: string; message: string }) => error.code === 'sealingKeyInvalid' && problem.test(error.message),
      what,
    )
  refuses(
    'a key that the control plane made',
    { key: signSealingKey(stranger, epoch, publicKey) },
    /another pool, ring, epoch or device/,
  )
  refuses(
    'a device that is no member',
    { key: signSealingKey(stranger, epoch, publicKey), certificate: member(stranger, stranger) },
    /root key/,
    { of: { ...wanted, leader: deviceIdOf(stranger) } },
  )
  refuses('the certificate of another member', { certificate: member(stranger) }, /not that of rank 0/)
  refuses('a removed member', {}, /removed/, { by: { ...trust, removals: { has: () => true } } })
  refuses('a member whose certificate is over', {}, /expired|ended/, { by: { ...trust, now: now + 30 * 86_400_000 } })
  for (const other of [
    { ...wanted, epoch: 8 },
    { ...wanted, ringId: 'ring_2' },
  ])
    refuses('another epoch or ring', {}, /another pool, ring, epoch or device/, { of: other })
  refuses('another pool', {}, /not that of rank 0/, { of: { ...wanted, poolId: poolIdOf(stranger.publicKey) } })
  const bytes = Buffer.from(sealing.key, 'base64url')
  for (const index of bytes.keys()) {
    const changed = Buffer.from(bytes)
    changed[index] ^= 1
    refuses(`byte ${index}`, { key: changed.toString('base64url') }, /./)
  }
  refuses('nothing', { key: 'AAAA' }, /./)
  refuses('half a key', { key: signSealingKey(device, epoch, publicKey.subarray(16)) }, /no X25519 key/)
})
