/** Which models' sums are checked, and that a rank that lies is found in one with another activation. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkpointOf, writeCheckpoint } from '../model/architecture/random-checkpoint.ts'
import { oracleHalf } from './test/oracle-half.ts'
import { tinyFamilies } from '../model/architecture/test/tiny-models.ts'
import { openModel } from '../model/model-folder.ts'
import { activate } from '../model/architecture/test/oracle-vectors.ts'
import { checkableLayers, uncheckable } from './checkable.ts'
import { compare, tolerances } from './compare.ts'
import { HalfFile } from './half-file.ts'
import { activated } from './recompute.ts'

const tiny = (name: string) => tinyFamilies.find((one) => one.name === name) as (typeof tinyFamilies)[number]

for (const [name, layers] of [
  ['llama, scaled', [0, 1, 2]],
  ['gemma', [0, 1, 2]],
  ['gemma 2', [0, 1, 2, 3]],
  ['gemma 3', [0, 1, 2, 3, 4, 5, 6]],
  // the first layer is dense, the others have experts
  ['glm 4.5', [0]],
  ['mixtral', []],
  ['gpt-oss', []],
  ['olmo 2', []],
] as const) {
  test(`checkable: ${name}: layers ${layers.join(', ') || 'none'}`, () => {
    const { spec } = checkpointOf(tiny(name))
    assert.deepEqual(checkableLayers(spec), layers)
    assert.equal(uncheckable(spec, 'q4') === undefined, layers.length > 0)
    assert.match(uncheckable(spec, 'file') ?? '', /types of their file/)
  })
}

for (const activation of ['silu', 'geluTanh', 'gelu', 'relu2', { kind: 'clampedGlu', alpha: 1.702, limit: 3 }] as const)
  test(`checkable: ${JSON.stringify(activation)} is that of the oracle`, () => {
    const [gate, up] = [3.1, 1.7].map((step) => Float32Array.from({ length: 99 }, (_, i) => Math.sin(i * step) * 5))
    const got = activated(Float32Array.from([...gate, ...up]), activation)
    const want = activate(activation, Float64Array.from(gate), Float64Array.from(up))
    for (const [i, value] of want.entries())
      assert.ok(Math.abs(got[i] - value) < 3e-6 * Math.max(1, Math.abs(value)), `${i}: ${got[i]}, not ${value}`)
  })

for (const name of ['llama, scaled', 'gemma', 'gemma 2', 'glm 4.5']) {
  test(`checkable: ${name}: an honest part passes, one that is wrong by 1 % does not`, (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'mesh-checkable-'))
    t.after(() => rmSync(folder, { recursive: true, force: true }))
    const checkpoint = checkpointOf(tiny(name))
    const { spec, roles } = checkpoint
    writeCheckpoint(folder, tiny(name).config, checkpoint)
    const model = openModel(folder, 'tiny')
    t.after(() => model.close())
    const layer = checkableLayers(spec).at(-1) as number
    const ffn = { start: 16, end: 64 }
    const half = new HalfFile(model.roles(), { spec, layer, ffn, quant: 'f32', block: 32 }, join(folder, 'halves'))
    t.after(() => half.close())
    for (const _ of half.cut());
    const x = Float32Array.from({ length: spec.hidden }, (_, i) => Math.sin(i * 3.7) * 2)
    const part = Float32Array.from(oracleHalf({ spec, roles, layer, ffn }, x))
    const errorOf = (sent: Float32Array): number =>
      compare(half, { x, part: sent, wire: 'f32' }, { kinds: ['ggml'], epsilon: spec.norm.epsilon }).error
    assert.ok(errorOf(part) < 1e-5, `honest: ${errorOf(part)}`)
    const wrong = part.map((value, i) => value * (i % 2 === 0 ? 1.01 : 0.99))
    assert.ok(errorOf(wrong) > tolerances.f32, `wrong: ${errorOf(wrong)}`)
  })
}
