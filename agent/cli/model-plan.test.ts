/** `mesh model-plan` on headers without weights. */
import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryFolder } from '../../test/support/homes.ts'
import { meshHere } from '../../test/support/processes.ts'
import { writeDense70, writeMixture235 } from '../library/test/header-models.ts'
import { bundledFolder } from './ring-join.ts'

interface Plan {
  readonly weights: number
  readonly weight_bytes: number
  readonly fits: boolean
  readonly context?: number
  readonly devices: readonly {
    readonly name: string
    readonly room_bytes: number
    readonly bytes: number
    readonly fetch_bytes: number
    readonly ranges: Readonly<Record<'heads' | 'vocab', { readonly start: number; readonly end: number }>>
  }[]
  readonly shortage?: { readonly name: string; readonly lacks_bytes: number }
}

const plan = async (home: string, ...args: string[]): Promise<Plan> => {
  const { code, stdout, stderr } = await meshHere(['model-plan', ...args, '--json'], home)
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout) as Plan
}

/** Ten devices of these sizes in GB. */
const devices = (...sizes: readonly number[]): string => sizes.map((size, index) => `d${index}=${size}GB`).join(',')
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

/** Every device has room, all heads and the vocabulary are held once, and no more is fetched than is needed. */
const checkPlan = (
  { devices: held, weight_bytes: bytes }: Plan,
  { heads, vocab, whole }: Record<string, number>,
): void => {
  assert.equal(held.length, 10)
  assert.ok(held.every((device) => device.bytes <= device.room_bytes))
  assert.equal(sum(held.map(({ ranges }) => ranges.heads.end - ranges.heads.start)), heads)
  assert.equal(sum(held.map(({ ranges }) => ranges.vocab.end - ranges.vocab.start)), vocab)
  // the parts that are cut come to the model once; the embedding, norms and routers to each device
  const fetched = sum(held.map((device) => device.fetch_bytes))
  assert.ok(Math.abs(fetched - (bytes + 9 * whole)) < bytes * 0.001 + 9 * whole * 0.05, `${fetched} of ${bytes}`)
  assert.ok(held.every((device) => device.fetch_bytes < bytes / 3))
}

test('model-plan: a 70B model on ten devices, or who lacks what', async (t) => {
  const root = temporaryFolder(t)
  const model = join(root, 'big-70b')
  writeDense70(model)
  const home = join(root, 'home')
  const found = await plan(home, model, '--quant', 'q4', '--devices', devices(16, 16, 8, 8, 8, 6, 6, 4, 4, 3))
  assert.ok(found.fits && found.weight_bytes > 140e9 && found.weight_bytes < 142e9)
  assert.ok((found.context ?? 0) >= 2048)
  checkPlan(found, { heads: 64, vocab: 128_256, whole: 128_256 * 8192 * 2 })
  const short = await plan(home, model, '--quant', 'q8', '--devices', devices(4, 4, 4, 4, 4, 4, 4, 4, 4, 4))
  assert.deepEqual([short.fits, short.devices], [false, []])
  assert.ok((short.shortage?.lacks_bytes ?? 0) > 3e9)
  const { stdout } = await meshHere(['model-plan', model, '--devices', 'Anna=4GB,Ben=8GB'], home)
  assert.match(stdout, /^fits +no: \S+ lacks \S+ GB of \S+ GB$/m)
  // headers alone: a few blocks of the disk
  assert.ok(statSync(join(model, 'model-00001-of-00030.safetensors')).blocks < 1000)
})

test('model-plan: a mixture of 235B on ten devices', async (t) => {
  const root = temporaryFolder(t)
  const model = join(root, 'mixture')
  writeMixture235(model)
  const found = await plan(
    join(root, 'home'),
    model,
    '--quant',
    'q4',
    '--devices',
    devices(64, 32, 24, 24, 16, 16, 16, 12, 8, 8),
  )
  assert.ok(found.fits && found.weight_bytes > 468e9 && found.weight_bytes < 472e9)
  checkPlan(found, { heads: 64, vocab: 151_936, whole: (151_936 + 94 * 128) * 4096 * 2 })
})

test('model-plan: names, this device, and what is typed wrong', async (t) => {
  const home = temporaryFolder(t)
  assert.equal((await plan(home, 'tiny-story')).devices[0].name, 'this device')
  const shares = await plan(home, join(bundledFolder, 'tiny-story'), '--devices', 'Anna=2GB*3,Ben=2GB')
  assert.ok(shares.devices[0].fetch_bytes > shares.devices[1].fetch_bytes)
  for (const [typed, why] of [
    ['Anna', /wants NAME=MEMORY/],
    ['Anna=2GB,Anna=3GB', /twice there is "Anna"/],
    ['Anna=x', /"x" is not a size/],
    ['Anna=0GB', /more than nothing/],
    ['Anna=2GB*0', /the share is/],
  ] as const) {
    const { code, stderr } = await meshHere(['model-plan', 'tiny-story', '--devices', typed], home)
    assert.deepEqual([code, why.test(stderr)], [2, true], stderr)
  }
  const { code, stderr } = await meshHere(['model-plan', 'owner/none'], home)
  assert.deepEqual([code, /model owner\/none is not on this device/.test(stderr)], [5, true])
})
